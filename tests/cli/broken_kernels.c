/* Preloaded before llama.cpp: its passes end with an illegal instruction once a model has asked for buffers of extra
   types (DIE=extra) or always (DIE=always), or compute nothing (DIE=wrong), so that what is in memory counts; or
   llama.cpp ends as soon as it is started (DIE=start). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

static int asked;

/* What `caller` would have reached: it is looked up in the caller's library and those that it was linked with. */
static void *real_function(const char *name, void *caller) {
    Dl_info where;
    dladdr(caller, &where);
    return dlsym(dlopen(where.dli_fname, RTLD_LAZY | RTLD_NOLOAD), name);
}

void *ggml_backend_reg_get_proc_address(void *reg, const char *name) {
    void *(*real)(void *, const char *) =
        real_function("ggml_backend_reg_get_proc_address", __builtin_return_address(0));
    if (!strcmp(name, "ggml_backend_dev_get_extra_bufts")) asked = 1;
    return real(reg, name);
}

int ggml_backend_sched_graph_compute_async(void *sched, void *graph) {
    int (*real)(void *, void *) =
        real_function("ggml_backend_sched_graph_compute_async", __builtin_return_address(0));
    const char *die = getenv("DIE");
    if (die && (!strcmp(die, "always") || (asked && !strcmp(die, "extra")))) __builtin_trap();
    if (die && asked && !strcmp(die, "wrong")) return 0;
    return real(sched, graph);
}

void ggml_time_init(void) {
    void (*real)(void) = real_function("ggml_time_init", __builtin_return_address(0));
    const char *die = getenv("DIE");
    if (die && !strcmp(die, "start")) __builtin_trap();
    real();
}

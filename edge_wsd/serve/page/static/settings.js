// The settings of the answers to come, and how the page looks.

import { el, find } from "./dom.js";
import { ofBrowser, ofTab } from "./kept.js";

const MODES = { wsd: "both (weak-to-strong)", base: "base alone", drafter: "drafter alone" };
const RULES = {
  window: "window: once, for good",
  nudge: "nudge: word by word",
  never: "never: the base only scores",
};
const LOOKS = { auto: "as the system", light: "light", dark: "dark" };
const LOOK = "edge-wsd-look"; // in the browser's storage
const CHANGES = "edge-wsd-settings"; // in the tab's: the pair, and what differs from its own settings

// In the order of the form. `hint` is one line; `step`, `min` and `max` are those of an input, `own` what it begins with
// where a pair has no word in it.
const FIELDS = [
  { name: "pair", label: "Pair", hint: "A drafter and a base." },
  { name: "mode", label: "Mode", texts: MODES, hint: "Who writes." },
  { name: "rule", label: "Rule", texts: RULES, hint: "When the base takes over." },
  { name: "threshold", label: "Threshold", type: "range", min: 0, max: 1, step: 0.01, hint: "The base takes over once its confidence reaches this." },
  { name: "window", label: "Window", type: "number", min: 1, step: 1, hint: "Tokens that the confidence is averaged over." },
  { name: "nudge_below", label: "Unsure below", type: "range", min: 0.01, max: 1, step: 0.01, hint: "Below this probability the base asks the drafter for a word." },
  { name: "max_tokens", label: "Max tokens", type: "number", min: 1, step: 1, hint: "The longest an answer may be." },
  { name: "temperature", label: "Temperature", type: "number", min: 0, max: 10, step: "any", hint: "0 always takes the most probable token." },
  { name: "seed", label: "Seed", type: "number", min: 0, max: 2 ** 32 - 2, step: 1, optional: "random", hint: "The same seed gives the same answer." },
  { name: "top_logprobs", label: "Alternatives", type: "number", own: 3, min: 0, max: 20, step: 1, hint: "How many of the likeliest tokens to tell where you point." },
  { name: "system", label: "System prompt", type: "lines", optional: "none", hint: "What every answer should heed." },
];
const OF_OPTIONS = ["mode", "rule", "threshold", "window", "nudge_below"];

/** The form, and what it says. */
export class Settings {
  /** `config` as the server tells it; `onPair(pair)` is called when another pair is chosen. */
  constructor(root, config, onPair) {
    this.config = config;
    this.onPair = onPair;
    this.form = el("form", {}, ...FIELDS.map((field) => this.#row(field)), this.#looks(), this.#reset());
    this.form.addEventListener("submit", (event) => event.preventDefault());
    root.replaceChildren(el("h2", {}, "Settings"), this.form);
    this.#restore();
    this.form.addEventListener("input", (event) => {
      if (event.target.name === "pair") this.#usePair();
      this.#refresh();
      this.#keep();
    });
  }

  get pair() {
    return this.config.pairs.find((pair) => pair.name === this.#input("pair").value);
  }

  /** Whether every field is in its range; if not, the form shows which is not. */
  check() {
    if (this.form.checkValidity()) return true;
    find("#settings-button").ariaExpanded === "true" || find("#settings-button").click();
    this.form.reportValidity();
    return false;
  }

  /** The request that asks for an answer to `messages`, and the options that its answer is measured by. */
  request(messages, changes = {}) {
    const values = { ...this.#values(), ...changes };
    const options = Object.fromEntries(OF_OPTIONS.map((name) => [name, values[name]]));
    const system = values.system.trim() ? [{ role: "system", content: values.system }] : [];
    const body = {
      model: values.pair,
      messages: [...system, ...messages],
      max_tokens: values.max_tokens,
      temperature: values.temperature,
      seed: values.seed,
      ...(values.top_logprobs && { logprobs: true, top_logprobs: values.top_logprobs }),
      edge_wsd: options,
    };
    return [body, options];
  }

  /** For answers that are to be compared: one seed for all, drawn here where one is needed and none is set. */
  commonSeed() {
    const { seed, temperature } = this.#values();
    return temperature === 0 ? seed : seed ?? crypto.getRandomValues(new Uint32Array(1))[0] % (2 ** 32 - 1);
  }

  #values() {
    return Object.fromEntries(FIELDS.map(({ name, type }) => {
      const { value } = this.#input(name);
      if (type !== "number" && type !== "range") return [name, value];
      return [name, value === "" ? null : Number(value)];
    }));
  }

  #input(name) {
    return this.form.elements[name];
  }

  #row({ name, label, hint, texts, type, optional, own, ...limits }) {
    const shared = { name, id: `set-${name}`, "aria-describedby": `hint-${name}` };
    const input = type === "lines" ? el("textarea", { ...shared, rows: 2, placeholder: optional })
      : type ? el("input", { ...shared, type, ...limits, placeholder: optional, required: !optional })
      : el("select", shared, ...this.#choices(name, texts));
    const value = type === "range" ? [el("output", { for: shared.id, class: `value-of-${name}` })] : [];
    return el("div", { class: "field" },
      el("label", { for: shared.id }, label), ...value, input, el("p", { id: `hint-${name}`, class: "hint" }, hint));
  }

  #choices(name, texts) {
    const values = { pair: this.config.pairs.map((pair) => pair.name), mode: this.config.modes, rule: this.config.rules }[name];
    return values.map((value) => el("option", { value }, texts?.[value] ?? value));
  }

  #looks() {
    const chosen = ofBrowser.get(LOOK) ?? "auto";
    const select = el("select", { id: "set-look" },
      ...Object.entries(LOOKS).map(([value, text]) => el("option", { value, selected: value === chosen }, text)));
    select.addEventListener("change", () => {
      ofBrowser.set(LOOK, select.value);
      applyLook();
    });
    return el("div", { class: "field" }, el("label", { for: "set-look" }, "Look"), select);
  }

  #reset() {
    const reset = () => {
      this.#usePair();
      this.#keep();
    };
    return el("button", { type: "button", class: "reset", onclick: reset }, "Back to this pair's own settings");
  }

  /** What the pair is set to, in the words of the form. */
  #own() {
    const { options } = this.pair;
    return FIELDS.filter(({ name }) => name !== "pair").map(({ name, own }) => [name, String(options[name] ?? own ?? "")]);
  }

  /** What a page that is loaded anew begins with. */
  #keep() {
    const changed = this.#own().filter(([name, own]) => this.#input(name).value !== own);
    const changes = Object.fromEntries(changed.map(([name]) => [name, this.#input(name).value]));
    ofTab.set(CHANGES, JSON.stringify({ pair: this.pair.name, changes }));
  }

  #restore() {
    const { pair, changes } = JSON.parse(ofTab.get(CHANGES) ?? "{}");
    const isThere = this.config.pairs.some(({ name }) => name === pair);
    if (isThere) this.#input("pair").value = pair;
    this.#usePair();
    if (isThere) for (const [name, value] of Object.entries(changes)) if (this.#input(name)) this.#input(name).value = value;
    this.#refresh();
  }

  /** Fills in what the pair is set to. */
  #usePair() {
    for (const [name, value] of this.#own()) this.#input(name).value = value;
    this.#refresh();
    this.onPair(this.pair);
  }

  /** What one mode or rule leaves out cannot be set. */
  #refresh() {
    const { mode, rule } = this.#values();
    this.#input("rule").disabled = mode !== "wsd";
    for (const [name, only] of Object.entries(this.config.of_one_rule)) {
      // The rule `never` takes no option, but its confidence is seen against the threshold.
      const applies = mode === "wsd" && (rule === only || (rule === "never" && only === "window"));
      if (this.#input(name)) this.#input(name).disabled = !applies;
    }
    for (const { name, type } of FIELDS) {
      if (type === "range") find(`.value-of-${name}`, this.form).value = Number(this.#input(name).value).toFixed(2);
    }
  }
}

/** Light, dark, or what the system has. */
export function applyLook() {
  const look = ofBrowser.get(LOOK) ?? "auto";
  document.documentElement.dataset.look = look;
  find("meta[name=color-scheme]").content = look === "auto" ? "light dark" : look;
}

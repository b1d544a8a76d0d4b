"""Chat templates written for the tests in the styles that models come with."""

LLAMA3 = """
{{- bos_token }}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "01 Jan 2025" %}
    {%- endif %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if tools is not none %}
    {{- "Environment: ipython\\n" + (tools | tojson(indent=4)) }}
{%- endif %}
{{- "Today: " + date_string + "\\n\\n" }}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {%- if message.role == 'tool' or 'tool_calls' in message %}
        {{- raise_exception("This template answers no tools") }}
    {%- else %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}
        {{- message['content'] | trim + '<|eot_id|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""

CHATML = """{% for message in messages %}
{% if loop.first and message['role'] != 'system' %}
<|im_start|>system
You are helpful.<|im_end|>
{% endif %}
{{ '<|im_start|>' ~ message['role'] }}
    {% if message.role == 'assistant' %}
        {% generation %}
{{ message['content'] }}<|im_end|>
        {% endgeneration %}
    {% else %}
{{ message['content'] }}<|im_end|>
    {% endif %}
{% endfor %}
{% if add_generation_prompt %}
<|im_start|>assistant
{% endif %}
"""

GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}"
    "{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"
)

MISTRAL = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token }}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}"
)

DROPS_SYSTEM = (
    "{% for message in messages if message.role != 'system' %}"
    "{% if message.content is string %}{{ message.role }}: {{ message.content }}\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)

# What published templates take from Jinja, one thing each.
FEATURES = {
    "few-shot prompt by format": (
        "{{ 'Below are examples.\\n\\n' }}{% for m in messages %}{% if m.role == 'user' %}"
        "{{ '# Query:\\n%s\\n\\n# Answer:\\n'|format(m.content) }}"
        "{% else %}{{ '{}\\n\\n'.format(m['content']) }}{% endif %}{% endfor %}"
    ),
    "pairs by batch": "{% for pair in messages|batch(2) %}{{ pair|map(attribute='content')|join(' / ') }};{% endfor %}",
    "columns by slice": "{% for part in messages|slice(2) %}{{ part|length }}{% endfor %}",
    "pprint": "{{ messages|pprint }}",
    "center and wordwrap": "{{ messages[0].content|center(40) }}|{{ messages[0].content|wordwrap(9) }}",
    "selected roles": "{{ messages|selectattr('role', 'equalto', 'user')|map(attribute='content')|list|tojson }}",
    "groupby and dictsort": (
        "{% for role, group in messages|groupby('role') %}{{ role }}{{ group|length }}{% endfor %}"
        "{{ {'b': 1, 'a': 2}|dictsort }}"
    ),
    "namespace and macro": (
        "{% set ns = namespace(n=0) %}{% macro line(m) %}{{ m.role|title }}: {{ caller() }}{% endmacro %}"
        "{% for m in messages %}{% set ns.n = ns.n + 1 %}{% call line(m) %}{{ ns.n }} {{ m.content }}{% endcall %}"
        "{% endfor %}"
    ),
    "scope of the generation tag": (
        "{% set x = 1 %}{% generation %}{% set x = 2 %}{{ messages[0].content|upper }}{% endgeneration %}{{ x }}"
    ),
    "split, strip and slices": (
        "{% set text = messages[0].content.split(' ')[-1].lstrip('<').rstrip('?') %}"
        "{{ text[::-1] }}{{ messages[1:]|length }}{{ messages[::-1][0].role }}"
    ),
    "JSON in order": "{{ {'z': messages[0], 'a': [1, 2.5, none, true]}|tojson(indent=2, sort_keys=true) }}",
    "loop variables": "{% for m in messages %}{{ loop.index0 }}{{ loop.last }}{{ loop.cycle('a', 'b') }}{% endfor %}",
    "loop controls": (
        "{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{{ m.role }}{% break %}{% endfor %}"
    ),
    "tests and defaults": (
        "{{ tools is defined }}{{ x|default('y') }}{{ messages is iterable }}{{ 'us' in messages[0].role }}"
    ),
    "trimmed blocks": "  {% if true %}\n  a\n  {% endif %}\n\n{#- note -#}\n b",
    "urlize and xmlattr": "{{ 'see https://example.org'|urlize }}{{ {'a': 'b<c'}|xmlattr }}",
}

TOOLS_HERMES = """
{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0].role == 'system' %}{{- messages[0].content + '\\n\\n' }}{%- endif %}
    {{- "# Tools\\n\\nYou may call functions within <tools></tools>:\\n<tools>" }}
    {%- for tool in tools %}
        {{- "\\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\\n</tools>\\nAnswer with JSON within <tool_call></tool_call>.<|im_end|>\\n" }}
{%- elif messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if message.role == 'user' or (message.role == 'assistant' and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
    {%- elif message.role == 'assistant' %}
        {{- '<|im_start|>assistant' }}
        {%- if message.content %}{{- '\\n' + message.content }}{%- endif %}
        {%- for tool_call in message.tool_calls %}
            {%- if tool_call.function is defined %}{%- set tool_call = tool_call.function %}{%- endif %}
            {{- '\\n<tool_call>\\n{"name": "' + tool_call.name + '", "arguments": ' }}
            {{- tool_call.arguments | tojson }}
            {{- '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == 'tool' %}
        {{- '<|im_start|>user\\n<tool_response>\\n' + message.content + '\\n</tool_response><|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
"""

TOOLS_LLAMA3 = """
{{- bos_token }}
{%- if messages[0].role == 'system' %}
    {%- set system_message = messages[0].content | trim %}{%- set messages = messages[1:] %}
{%- else %}{%- set system_message = "" %}{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" + system_message + "<|eot_id|>" }}
{%- for message in messages %}
    {%- if message.role == 'user' and loop.first and tools is not none %}
        {{- '<|start_header_id|>user<|end_header_id|>\\n\\nAnswer with JSON for a function call.\\n\\n' }}
        {%- for t in tools %}{{- t | tojson(indent=4) }}{{- "\\n\\n" }}{%- endfor %}
        {{- message.content | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if message.tool_calls | length != 1 %}{{- raise_exception("One call at once") }}{%- endif %}
        {%- set call = message.tool_calls[0].function %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n{"name": "' + call.name + '", "parameters": ' }}
        {{- call.arguments | tojson }}
        {{- '}<|eot_id|>' }}
    {%- elif message.role == 'tool' or message.role == 'ipython' %}
        {{- '<|start_header_id|>ipython<|end_header_id|>\\n\\n' }}
        {%- if message.content is mapping or message.content is iterable %}{{- message.content | tojson }}
        {%- else %}{{- message.content }}{%- endif %}
        {{- '<|eot_id|>' }}
    {%- else %}
        {{- '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' + message.content | trim + '<|eot_id|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}
"""

TOOLS_MISTRAL = """
{%- if messages[0].role == 'system' %}
    {%- set system_message = messages[0].content %}{%- set loop_messages = messages[1:] %}
{%- else %}{%- set system_message = '' %}{%- set loop_messages = messages %}{%- endif %}
{{- bos_token }}
{%- if tools is not none %}
    {{- '[AVAILABLE_TOOLS] [' }}
    {%- for tool in tools %}{{- tool | tojson }}{{- ', ' if not loop.last else '' }}{%- endfor %}
    {{- '][/AVAILABLE_TOOLS]' }}
{%- endif %}
{%- for message in loop_messages %}
    {%- if message.role == 'user' %}
        {{- '[INST] ' + (system_message + '\\n\\n' if loop.last and system_message else '') }}
        {{- message.content + '[/INST]' }}
    {%- elif message.tool_calls is defined and message.tool_calls is not none %}
        {{- '[TOOL_CALLS] [' }}
        {%- for tool_call in message.tool_calls %}
            {%- if tool_call.id is not defined or tool_call.id | length != 9 %}
                {{- raise_exception("Ids of calls have 9 characters") }}
            {%- endif %}
            {%- set out = tool_call.function | tojson %}
            {{- out[:-1] + ', "id": "' + tool_call.id + '"}' }}
        {%- endfor %}
        {{- ']' + eos_token }}
    {%- elif message.role == 'assistant' %}
        {{- ' ' + message.content + eos_token }}
    {%- elif message.role in ['tool', 'tool_results'] %}
        {{- '[TOOL_RESULTS] {"name": "' + message.name + '", "content": ' + message.content | string }}
        {{- ', "call_id": "' + message.tool_call_id + '"}[/TOOL_RESULTS]' }}
    {%- endif %}
{%- endfor %}
"""

TOOLS_TEXT_ARGUMENTS = """
{%- for tool in tools or [] %}{{- tool.function.name + ': ' + tool.function.description }}{%- endfor %}
{%- for message in messages %}
    {{- '<|' + message.role + '|>' + message.content }}
    {%- for call in message.tool_calls or [] %}
        {{- call.function.name + '```json ' + call.function.arguments + '```' }}
    {%- endfor %}
{%- endfor %}
"""

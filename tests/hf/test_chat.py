"""assay tokenize --chat against transformers' apply_chat_template: the same ids."""

import json
import os
import random
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from assay_cli import ROOT, run_assay
from nasty_text import sample
from transformers import AutoTokenizer

BUNDLED = ROOT / "models" / "tiny-qwen3"
QWEN = ROOT.parent / "shared" / "models" / "Qwen3-0.6B"
THINKING: dict[str, bool | None] = {"unset": None, "on": True, "off": False}
RANDOM_CHATS = 200

# In the styles of the families. Each uses a feature of Jinja that the others do not use.
TEMPLATES = {
    "qwen": """{%- macro call(c) -%}
{{ '<tool_call>\n' + {'name': c.function.name, 'arguments': c.function.arguments} | tojson + '\n</tool_call>' }}
{%- endmacro -%}
{%- if tools %}
{{- '<|im_start|>system\n' + (messages[0].content + '\n\n' if messages[0].role == 'system' else '') }}
{%- for tool in tools %}{{ tool | tojson(indent=2) ~ '\n' }}{% endfor -%}
{{ '<|im_end|>\n' }}
{%- elif messages[0].role == 'system' %}
{{- '<|im_start|>system\n' + messages[0].content + '<|im_end|>\n' }}
{%- endif %}
{%- set ns = namespace(open=true, last=0) %}
{%- for m in messages[::-1] %}
  {%- if ns.open and m.role == 'user' and m.content is string %}
    {%- set ns.open = false %}{% set ns.last = messages | length - 1 - loop.index0 %}
  {%- endif %}
{%- endfor %}
{%- for m in messages %}
  {%- if m.role == 'user' or (m.role == 'system' and not loop.first) %}
    {{- '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}
  {%- elif m.role == 'assistant' %}
    {%- set content = m.content or '' %}{% set thought = m.reasoning_content or '' %}
    {%- if not thought and '</think>' in content %}
      {%- set thought = content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}
      {%- set content = content.split('</think>')[-1].lstrip('\n') %}
    {%- endif %}
    {{- '<|im_start|>assistant\n' }}
    {%- if loop.index0 > ns.last and thought %}{{- '<think>\n' + thought.strip('\n') + '\n</think>\n\n' }}{% endif %}
    {{- content }}
    {%- for c in m.tool_calls or [] %}{{- '\n' if not loop.first or content }}{{ call(c) }}{% endfor %}
    {{- '<|im_end|>\n' }}
  {%- elif m.role == 'tool' %}
    {%- if loop.first or loop.previtem.role != 'tool' %}{{- '<|im_start|>user' }}{% endif %}
    {{- '\n<tool_response>\n' + m.content + '\n</tool_response>' }}
    {%- if loop.last or loop.nextitem.role != 'tool' %}{{- '<|im_end|>\n' }}{% endif %}
  {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
  {{- '<|im_start|>assistant\n' }}
  {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\n\n</think>\n\n' }}{% endif %}
{%- endif %}""",
    "llama3": """{{- bos_token }}
{%- set day = date_string if date_string is defined else strftime_now("%d %b %Y") %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system = "" %}
{%- endif %}
{{- "<|fim_prefix|>system<|fim_suffix|>\n\nToday: " + day + "\n\n" }}
{%- if tools is not none %}{{- "Tools: " }}{% for t in tools %}{{- t | tojson(indent=4) }}{{- "\n\n" }}{% endfor %}{% endif %}
{{- system + "<|im_end|>" }}
{%- for m in messages %}
    {%- if 'tool_calls' in m %}
        {%- if m.tool_calls | length != 1 %}{{- raise_exception("One tool call at a time") }}{% endif %}
        {%- for name, value in m.tool_calls[0].function.arguments | items %}{{- name ~ '=' ~ value ~ ';' }}{% endfor %}
    {%- elif m.content is mapping or m.content is iterable and m.content is not string %}
        {{- m.content | tojson }}
    {%- else %}
        {{- '<|fim_prefix|>' + m['role'] + '<|fim_suffix|>\n\n' + m['content'] | trim + '<|im_end|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|fim_prefix|>assistant<|fim_suffix|>\n\n' }}{% endif %}
""",
    "gemma": """{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {{ raise_exception('System role not supported') }}
{%- endif -%}
{% for m in messages -%}
    {%- if (m['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception("Roles must alternate user/assistant/...") }}
    {%- endif -%}
    {%- set role = 'model' if m['role'] == 'assistant' else m['role'] -%}
{{ '<|fim_prefix|>' + role + '
' + (m['content'] | trim) + '<|fim_suffix|>
' }}
{%- endfor -%}
{% if add_generation_prompt %}
{{ '<|fim_prefix|>model
' }}
{% endif %}""",
    "mistral": """{%- set ns = namespace(index=0) -%}
{{ bos_token }}{% for m in messages %}
{%- if m.role == 'tool' %}{% continue %}{% endif %}
{%- if m.role == 'system' %}{{ '[SYSTEM]' ~ m.content ~ '[/SYSTEM]' }}
{%- elif m.role == 'user' %}
{{- '[INST] ' + m.content | replace('  ', ' ') + ' [/INST]' }}
{%- elif m.content %}{% generation %}{{ ' ' ~ m.content ~ eos_token }}{% endgeneration %}
{%- else %}{{ raise_exception('an answer without content after ' ~ ns.index ~ ' messages') }}
{%- endif %}
{%- set ns.index = ns.index + 1 %}
{%- endfor %}""",
    # gpt-oss: types of tools by a macro that calls itself, the channels of an answer.
    "harmony": """{%- macro type_of(spec) -%}
  {%- if spec.type == 'object' -%}
    {{- '{\n' }}
    {%- for name, inner in spec.properties.items() -%}
      {{- name + ('?' if name not in (spec.required or []) else '') + ': ' + type_of(inner) }}
      {%- if inner.description %}{{ ' // ' + inner.description }}{% endif %}
      {{- ',\n' if not loop.last else '\n' }}
    {%- endfor -%}
    {{- '}' }}
  {%- elif spec.enum -%}{{- '"' + spec.enum | join('" | "') + '"' }}
  {%- elif spec.type is string -%}{{- spec.type }}
  {%- elif spec.type is iterable -%}{{- spec.type | join(' | ') }}
  {%- else -%}any
  {%- endif -%}
{%- endmacro -%}
{{- '<|im_start|>system\nKnowledge cutoff: 2024-06\nCurrent date: ' + strftime_now('%Y-%m-%d') }}
{{- '\nReasoning: ' + (reasoning_effort if reasoning_effort is defined else 'medium') + '<|im_end|>' }}
{%- if messages[0].role in ['system', 'developer'] %}
  {%- set instructions = messages[0].content %}{% set loop_messages = messages[1:] %}
{%- else %}
  {%- set instructions = '' %}{% set loop_messages = messages %}
{%- endif %}
{%- if instructions or tools %}
  {{- '<|im_start|>developer\n' + instructions }}
  {%- for tool in tools or [] %}
    {%- set f = tool.function %}
    {{- '\n// ' + f.description if f.description else '' }}
    {{- '\ntype ' + f.name + ' = ' + ('(_: ' + type_of(f.parameters) + ')' if f.parameters else '()') }}
  {%- endfor %}
  {{- '<|im_end|>' }}
{%- endif %}
{%- set last_call = namespace(name=none) %}
{%- for message in loop_messages -%}
  {%- if message.role == 'assistant' -%}
    {%- if "content" in message and "<|channel|>analysis" in (message.content or '') %}
      {{- raise_exception("You have passed a message containing <|channel|> tags.") }}
    {%- endif %}
    {%- if message.tool_calls %}
      {%- set call = message.tool_calls[0].function %}
      {%- set thought = message.thinking or message.content %}
      {%- if thought %}{{- '<|im_start|>analysis\n' + thought + '<|im_end|>' }}{% endif %}
      {{- '<|im_start|>to=functions.' + call.name + '\n' + call.arguments | tojson + '<|im_end|>' }}
      {%- set last_call.name = call.name %}
    {%- elif loop.last and not add_generation_prompt %}
      {{- '<|im_start|>final\n' + message.content + '<|return|>' }}
    {%- else %}
      {{- '<|im_start|>final\n' + message.content + '<|im_end|>' }}
      {%- set last_call.name = none %}
    {%- endif %}
  {%- elif message.role == 'tool' -%}
    {%- if last_call.name is none %}{{ raise_exception("a tool's message without a call") }}{% endif %}
    {{- '<|im_start|>functions.' + last_call.name + '\n' + message.content | tojson + '<|im_end|>' }}
  {%- elif message.role == 'user' -%}
    {{- '<|im_start|>user\n' + message.content + '<|im_end|>' }}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant' }}{% endif %}""",
    # GLM-4.5 and MiniMax: content in pieces, thoughts only after the last user, other escapes.
    "glm": """[gMASK]<sop>
{%- macro visible(content) -%}
  {%- if content is string -%}{{- content }}
  {%- elif content is iterable and content is not mapping -%}
    {%- for item in content -%}
      {%- if item is mapping and item.type == 'text' -%}{{- item.text }}
      {%- elif item is string -%}{{- item }}
      {%- endif -%}
    {%- endfor -%}
  {%- elif content is none -%}{{- '' }}
  {%- else -%}{{- content }}
  {%- endif -%}
{%- endmacro -%}
{%- if tools -%}
<|system|>
{% for tool in tools %}{{ tool.function | tojson(ensure_ascii=False) | string }}
{% endfor %}
{%- endif -%}
{%- set ns = namespace(last_user_index=-1) -%}
{%- for m in messages %}
  {%- if m.role == 'user' %}{% set ns.last_user_index = loop.index0 -%}{% endif %}
{%- endfor %}
{% for m in messages %}
{%- if m.role == 'user' -%}<|user|>
{{ visible(m.content) }}
{{- '/nothink' if (enable_thinking is defined and not enable_thinking and not visible(m.content).endswith("/nothink")) else '' -}}
{%- elif m.role == 'assistant' -%}
<|assistant|>
{%- set thought = '' %}
{%- set content = visible(m.content) %}
{%- if m.reasoning_content is string %}
  {%- set thought = m.reasoning_content %}
{%- elif '</think>' in content %}
  {%- set thought = content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}
  {%- set content = content.split('</think>')[-1].lstrip('\n') %}
{%- endif %}
{%- if loop.index0 > ns.last_user_index and thought -%}
{{ '\n<think>' + thought.strip() + '</think>'}}
{%- else -%}
{{ '\n<think></think>' }}
{%- endif -%}
{%- if content.strip() -%}{{ '\n' + content.strip() }}{%- endif -%}
{% for tc in m.tool_calls or [] %}
  {%- if tc.function %}{% set tc = tc.function %}{% endif %}
{{ '\n<tool_call>' + tc.name }}
{% set _args = tc.arguments %}
{% for k, v in _args.items() %}
<arg_key>{{ k }}</arg_key>
<arg_value>{{ v | tojson(ensure_ascii=False) if v is not string else v }}</arg_value>
{% endfor %}
</tool_call>{% endfor %}
{%- elif m.role == 'tool' -%}
{%- if loop.first or (messages[loop.index0 - 1].role != "tool") %}{{- '<|observation|>' }}{% endif %}
{{- '\n<tool_response>\n' ~ visible(m.content) ~ '\n</tool_response>' }}
{%- elif m.role == 'system' -%}
<|system|>
{{ visible(m.content) }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
<|assistant|>{{- '\n<think></think>' if (enable_thinking is defined and not enable_thinking) else '' -}}
{%- endif -%}""",
    # Variables that a template gets, and blocks on separate lines.
    "all": """{% for m in messages %}
    {% if loop.first %}
  {{ documents }} {{ enable_thinking }} {{ tools | tojson(sort_keys=True, separators=(',', ':')) }}
    {% endif %}
  {{ m | tojson }}
{% endfor %}
{{ add_generation_prompt }}

""",
}

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "Says <how> it is & will be — \"né\"",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string", "enum": ["Zürich", "東京"]}},
                "required": ["city"],
            },
        },
    },
    {"type": "function", "function": {"name": "z_first", "a": [1, 2.50, 1e16, -0.0, True, None]}},
]
CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Zürich", "n": 1.0}}}


def said(role: str, content: Any, **fields: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **fields}


CHATS: list[dict[str, Any]] = [
    {"messages": [said("user", "Hello")]},
    {"messages": [said("system", " Be brief.\n"), said("user", "  two  spaces \n")]},
    {"messages": [said("user", "a"), said("assistant", "b"), said("user", "c")]},
    {"messages": [said("user", "a"), said("assistant", "b")]},
    {"messages": [said("user", "你好 👨‍👩‍👧‍👦 e\u0301 \u2028 \ufeff {{ 7 * 7 }} {% raw %} \\n \"'")]},
    {"messages": [said("user", "<|im_end|>\n<|im_start|>system\n<think></think><|endoftext|>")]},
    {"messages": [said("user", "")]},
    {
        "messages": [
            said("user", "1 + 1?"),
            said("assistant", "<think>\nhmm\n</think>\n\n2"),
            said("user", "really?"),
            said("assistant", "yes", reasoning_content="\nI said so\n"),
        ]
    },
    {"messages": [said("user", "a"), said("assistant", "b", thinking="t"), said("user", "c")]},
    {"messages": [said("user", "a"), {"role": "assistant", "content": "b", "reasoning": "older"}]},
    {"messages": [said("system", "s"), said("user", "weather?")], "tools": TOOLS},
    {"messages": [said("user", "weather?")], "tools": []},
    {"messages": [said("user", "weather?")], "tools": None},
    {
        "messages": [
            said("user", "weather?"),
            said("assistant", None, tool_calls=[CALL]),
            said("tool", "sunny", tool_call_id="1"),
            said("tool", '{"°C": 21}'),
            said("assistant", "21 °C"),
            said("user", "thanks"),
        ],
        "tools": TOOLS,
    },
    {
        "messages": [
            said("system", "s"),
            said("user", "weather?"),
            said("assistant", "", tool_calls=[CALL], reasoning_content="which city?"),
            said("tool", "sunny"),
        ],
        "tools": TOOLS,
    },
    {
        "messages": [
            said("user", "both?"),
            said("assistant", "Let me see.", tool_calls=[CALL, CALL]),
            said("tool", "x"),
        ]
    },
]


@pytest.fixture(autouse=True)
def this_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_PYTHON", sys.executable)


@pytest.fixture
def rng() -> random.Random:
    seed = int(os.environ.get("ASSAY_TEST_SEED") or random.randrange(2**32))
    print(f"ASSAY_TEST_SEED={seed}")
    return random.Random(seed)


def checkpoint(directory: Path, template: Any, **fields: Any) -> Path:
    """The bundled model's tokenizer with another chat template, or with none."""
    directory.mkdir()
    shutil.copy(BUNDLED / "tokenizer.json", directory)
    shutil.copy(BUNDLED / "config.json", directory)
    config = json.loads((BUNDLED / "tokenizer_config.json").read_text(encoding="utf-8"))
    config |= {"bos_token": "<|endoftext|>", "chat_template": template, **fields}
    config = {name: value for name, value in config.items() if value is not None}
    (directory / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return directory


def theirs(tokenizer: Any, chat: dict[str, Any], thinking: bool | None) -> list[int] | None:
    """None if the template rejects the chat."""
    set_ = {} if thinking is None else {"enable_thinking": thinking}
    try:
        return tokenizer.apply_chat_template(
            chat["messages"],
            tools=chat.get("tools"),
            add_generation_prompt=True,
            tokenize=True,
            return_dict=False,
            **set_,
        )
    except Exception as error:
        assert type(error).__module__.startswith("jinja2") or isinstance(error, TypeError)
        return None


def options(thinking: bool | None) -> list[str]:
    switch = {None: [], True: ["--thinking"], False: ["--no-thinking"]}[thinking]
    return ["--chat", "--jsonl", *switch]


def compare(model: Path, chats: list[dict[str, Any]], thinking: bool | None = None) -> int:
    """The ids of all chats are equal, or both sides refuse. Returns how many were refused."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    expected = [theirs(tokenizer, chat, thinking) for chat in chats]
    taken = [(c, e) for c, e in zip(chats, expected, strict=True) if e is not None]
    lines = "".join(json.dumps(chat) + "\n" for chat, _ in taken)
    result = run_assay(["tokenize", "--model", model, *options(thinking)], lines)
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(found) == len(taken)
    for ids, (chat, ids_of_theirs) in zip(found, taken, strict=True):
        assert ids == ids_of_theirs, f"{chat}\n{tokenizer.decode(ids)!r}"
    refused = [c for c, e in zip(chats, expected, strict=True) if e is None]
    for chat in refused:
        line = json.dumps(chat) + "\n"
        done = run_assay(["tokenize", "--model", model, *options(thinking)], line, check=False)
        assert done.returncode == 3, (chat, done.stdout)
        assert "standard input:1: " in done.stderr
    return len(refused)


@pytest.mark.parametrize("thinking", THINKING)
@pytest.mark.parametrize("family", TEMPLATES)
def test_ids_are_equal(tmp_path: Path, family: str, thinking: str) -> None:
    model = checkpoint(tmp_path / "model", TEMPLATES[family])
    refused = compare(model, CHATS, THINKING[thinking])
    assert refused == {"qwen": 0, "llama3": 1, "gemma": 5, "mistral": 2, "harmony": 0, "glm": 0, "all": 0}[family]


@pytest.mark.parametrize("thinking", THINKING)
def test_qwen3s_own_template(thinking: str) -> None:
    if not QWEN.is_dir():
        pytest.skip(f"no {QWEN}: equality with Qwen3's own template not tested")
    # It requires every message to have a content, even if empty.
    assert compare(QWEN, CHATS, THINKING[thinking]) == 1


def test_the_bundled_models_template() -> None:
    compare(BUNDLED, CHATS[:9])


def test_random_text(tmp_path: Path, rng: random.Random) -> None:
    model = checkpoint(tmp_path / "model", TEMPLATES["qwen"])
    added = AutoTokenizer.from_pretrained(model).get_added_vocab()
    roles = ["system", "user", "assistant", "user", "tool"]
    chats = [
        {"messages": [said(role, sample(rng, list(added))) for role in roles[rng.randrange(2) :]]}
        for _ in range(RANDOM_CHATS)
    ]
    assert compare(model, chats) == 0


def test_where_templates_are_found(tmp_path: Path) -> None:
    named = [{"name": "default", "template": "d{{ eos_token }}"}, {"name": "tool_use", "template": "t"}]
    models = [
        checkpoint(tmp_path / "named", named),
        checkpoint(tmp_path / "both", "config"),
        checkpoint(tmp_path / "more", None),
        checkpoint(tmp_path / "only", None),
        # The format of older checkpoints.
        checkpoint(tmp_path / "map", "{{ bos_token }}|{{ eos_token }}", added_tokens_decoder=None),
        checkpoint(
            tmp_path / "own",
            "{{ bos_token }}{{ image_token }}{{ audio_token }}{{ add_bos_token }}",
            bos_token={"__type": "AddedToken", "content": "<|im_start|>", "lstrip": False},
            image_token="<|image_pad|>",
            extra_special_tokens={"audio_token": "<|box_start|>"},
        ),
    ]
    for model in models[1:3]:
        (model / "chat_template.jinja").write_text("file\r\n{{ pad_token }}\r\n\r\n", newline="")
    for model in models[2:4]:
        (model / "additional_chat_templates").mkdir()
        (model / "additional_chat_templates" / "tool_use.jinja").write_text("other")
    (models[4] / "special_tokens_map.json").write_text(
        json.dumps({"bos_token": {"content": "<|im_end|>", "lstrip": False, "rstrip": False,
                                  "normalized": False, "single_word": False}})
    )
    for model in models[:3] + models[4:]:
        assert compare(model, [CHATS[0], CHATS[10], CHATS[11], CHATS[12]]) == 0
    # Without a default, only a chat with tools has a template.
    assert compare(models[3], [CHATS[10]]) == 0
    with pytest.raises(ValueError, match="default"):
        AutoTokenizer.from_pretrained(models[3]).apply_chat_template(CHATS[0]["messages"])
    line = json.dumps(CHATS[0]) + "\n"
    done = run_assay(["tokenize", "--model", models[3], *options(None)], line, check=False)
    assert done.returncode == 3
    assert "'tool_use'" in done.stderr


def test_a_reference_of_a_chat(tmp_path: Path) -> None:
    """extract encodes the rendered text, and records it in its manifest."""
    tokenizer = AutoTokenizer.from_pretrained(BUNDLED)
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text(json.dumps({"id": "talk", **CHATS[2]}) + "\n")
    conversation = tmp_path / "conversation.json"
    conversation.write_text(json.dumps(CHATS[1]["messages"]))
    run_assay(
        ["extract", "--chat", "--prompt", "Hello", "--prompts", prompts]
        + ["--conversation", conversation, "--max-new-tokens", "2", "--out", tmp_path / "out"]
    )
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    found = {p["id"]: (p["text"], p["input_ids"]) for p in manifest["prompts"]}
    expected = {}
    for id_, chat in {"prompt1": CHATS[0], "talk": CHATS[2], "prompt3": CHATS[1]}.items():
        text = tokenizer.apply_chat_template(
            chat["messages"], add_generation_prompt=True, tokenize=False
        )
        expected[id_] = (text, theirs(tokenizer, chat, None))
    assert found == expected

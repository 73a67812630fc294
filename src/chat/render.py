# Renders chat templates with Jinja2, set up as transformers sets it up. Reads from standard input
#   {"templates": {NAME: TEXT}, "variables": {...},
#    "conversations": [{"template": NAME, "messages": [...], "tools": [...] or null}]}
# and writes {"texts": [...]}, or {"error": WHAT, "kind": KIND, "conversation": INDEX}. KIND is
# "jinja2" (missing, or not a safe version), "refused" (by raise_exception) or "failed". "parent" is the
# process that started this one.
import json
import os
import resource
import signal
import sys
from datetime import datetime

SECONDS = 30
BYTES = 2 << 30


def answer(**fields):
    sys.stdout.write(json.dumps(fields))
    sys.stdout.flush()
    sys.exit(0)


def end_with(parent):
    """Whatever a template does, it does not outlive the process that asked for it."""
    try:
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    except (ImportError, OSError, AttributeError):
        return
    if os.getppid() != parent:
        sys.exit(0)


# The templates are untrusted code.
resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
try:
    import jinja2
    import jinja2.ext
    import jinja2.sandbox
except ImportError as error:
    answer(kind="jinja2", error=str(error))


class Refused(jinja2.TemplateError):
    """What a template says against a conversation."""


def raise_exception(message):
    raise Refused(message)


def strftime_now(format):
    return datetime.now().strftime(format)


# Jinja's own filter would escape characters for HTML.
def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


class Generation(jinja2.ext.Extension):
    """{% generation %}...{% endgeneration %} marks what the model has said: text like any other."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        # The block has its own scope: what is set inside is not visible outside.
        call = jinja2.nodes.CallBlock(self.call_method("_said"), [], [], body)
        return call.set_lineno(line)

    def _said(self, caller):
        return caller()


class Dict:
    """dict(...) and dict.fromkeys(...), and nothing else of the type."""

    def __call__(self, *values, **fields):
        return dict(*values, **fields)

    def fromkeys(self, *arguments):
        return dict.fromkeys(*arguments)


class Namespace(jinja2.utils.Namespace):
    """namespace(...) without the names that lead into Python."""

    def __init__(*arguments, **fields):
        self, *values = arguments
        attributes = dict(*values, **fields)
        for name in attributes:
            check_name(name)
        jinja2.utils.Namespace.__init__(self, attributes)

    def __setitem__(self, name, value):
        check_name(name)
        jinja2.utils.Namespace.__setitem__(self, name, value)


def check_name(name):
    if isinstance(name, str) and name.startswith("_"):
        raise jinja2.exceptions.SecurityError(f"a namespace cannot hold {name!r}")


def environment():
    made = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    made.filters["tojson"] = tojson
    made.globals.update(
        raise_exception=raise_exception, strftime_now=strftime_now, dict=Dict(), namespace=Namespace
    )
    return made


def as_seen(message):
    """As apply_chat_template hands it on: without nulls, what was thought under both its names."""
    message = {name: value for name, value in message.items() if value is not None}
    for name in ("reasoning_content", "thinking", "reasoning"):
        if name in message:
            thought = message[name]
            return {"thinking": thought, **message, "reasoning_content": thought}
    return message


def told(error):
    if isinstance(error, jinja2.TemplateSyntaxError):
        return f"line {error.lineno}: {error.message}"
    if isinstance(error, jinja2.TemplateError):
        return str(error.message)
    return f"{type(error).__name__}: {error}"


# Sandbox escapes that releases of Jinja2 have had (CVE-2016-10745, CVE-2019-10906, CVE-2024-56326,
# CVE-2025-27516). They are tried, because distributions fix them without a new version number.
ESCAPES = (
    "{{ '{0.__class__}'.format('') }}",
    "{{ '{x.__class__}'.format_map({'x': ''}) }}",
    "{% set f = '{0.__class__}'.format %}{{ f('') }}",
    "{{ ('{0.__class__}'|attr('format'))('') }}",
    "{{ ('{x.__class__}'|attr('format_map'))({'x': ''}) }}",
    "{{ ''|attr('__class__') }}",
    "{{ ''['__class__'] }}",
)


def escape_from(jinja):
    """The first of them that works; None where none does."""
    for template in ESCAPES:
        try:
            if "<class" in jinja.from_string(template).render():
                return template
        except Exception:  # any refusal will do
            continue
    return None


def main():
    request = json.load(sys.stdin.buffer)
    end_with(request.get("parent", os.getppid()))
    jinja = environment()
    escape = escape_from(jinja)
    if escape is not None:
        answer(
            kind="jinja2",
            error=f"Jinja2 {jinja2.__version__} lets a template out of its sandbox ({escape})",
        )
    compiled = {}
    texts = []
    for index, conversation in enumerate(request["conversations"]):
        try:
            name = conversation["template"]
            if name not in compiled:
                compiled[name] = jinja.from_string(request["templates"][name])
            text = compiled[name].render(
                {
                    **request["variables"],
                    "messages": [as_seen(message) for message in conversation["messages"]],
                    "tools": conversation["tools"],
                    "documents": None,
                    "add_generation_prompt": True,
                }
            )
            text.encode()  # half of a surrogate pair is not valid text
        except Refused as error:
            answer(kind="refused", error=told(error), conversation=index)
        except Exception as error:
            answer(kind="failed", error=told(error), conversation=index)
        texts.append(text)
    answer(texts=texts)


main()

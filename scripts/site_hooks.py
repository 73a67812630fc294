"""What mkdocs needs beyond docs/: the pages that lie elsewhere, and the sources that pages link to.

On the site, as in the repository, every relative link works: a link to a source file leads to a page that shows
the file, a link to a directory to a list of its files.
"""

import posixpath
import re
import subprocess
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    "README.md": "index.md",
    "SKILL.md": "skill.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "reporting-a-vulnerability.md",
}
LINK = re.compile(r"(\]\()([^)#\s:]+)((?:#[^)\s]*)?\))")
LANGUAGES = {".cpp": "cpp", ".h": "cpp", ".c": "c", ".py": "python", ".rs": "rust", ".json": "json", ".yml": "yaml",
             ".cmake": "cmake", ".txt": "text"}  # fmt: skip

_origins = {}  # a page's path on the site -> its file in the repository


def _tracked(directory):
    listed = subprocess.run(["git", "ls-files", directory], cwd=ROOT, capture_output=True, text=True, check=True)
    return listed.stdout.split()


def _page_of(path):
    """Where the site has a file or directory of the repository."""
    if path in PAGES:
        return PAGES[path]
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    if path.endswith(".md"):
        return f"source/{path}"
    return f"source/{path}/index.md" if (ROOT / path).is_dir() else f"source/{path}.md"


def _source_page(path):
    """A page that shows a file, or lists a directory."""
    file = ROOT / path
    head = f"---\nsearch:\n  exclude: true\n---\n\n# {path}\n\n"
    if file.is_dir():
        return head + "".join(f"- [{name}](/{name})\n" for name in _tracked(path))
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return head + f"{file.stat().st_size} bytes, not text.\n"
    if path.endswith(".md"):
        return "---\nsearch:\n  exclude: true\n---\n\n" + text
    language = LANGUAGES.get(file.suffix, "text")
    return f"{head}~~~~~~~~~~ {{.{language}}}\n{text}\n~~~~~~~~~~\n"


def _targets(text, origin):
    """Files and directories of the repository that a page links to."""
    for match in LINK.finditer(_without_code(text)):
        path = _resolved(match[2], origin)
        if (ROOT / path).exists():
            yield path


def _without_code(text):
    return re.sub(r"^(```|~~~).*?^\1", "", text, flags=re.DOTALL | re.MULTILINE)


def _resolved(link, origin):
    if link.startswith("/"):
        return link.strip("/")
    return posixpath.normpath(posixpath.join(posixpath.dirname(origin), link))


def on_files(files, config):
    _origins.clear()
    todo = []
    for file in files.documentation_pages():
        origin = f"docs/{file.src_uri}"
        _origins[file.src_uri] = origin
        todo += _targets((ROOT / origin).read_text(encoding="utf-8"), origin)
    todo += PAGES
    done = set(_origins)
    while todo:
        path = todo.pop()
        page = _page_of(path)
        if page in done or path.startswith("docs/"):
            continue
        done.add(page)
        text = (ROOT / path).read_text(encoding="utf-8") if path in PAGES else _source_page(path)
        files.append(File.generated(config, page, content=text))
        _origins[page] = path
        todo += _targets(text, path)
    return files


def on_page_markdown(markdown, page, config, files):
    here = page.file.src_uri
    origin = _origins[here]

    def moved(match):
        path = _resolved(match[2], origin)
        if not (ROOT / path).exists():
            return match[0]
        return match[1] + posixpath.relpath(_page_of(path), posixpath.dirname(here) or ".") + match[3]

    # Only outside of code.
    parts = re.split(r"^((?:```|~~~).*?^(?:```|~~~)~*$)", markdown, flags=re.DOTALL | re.MULTILINE)
    return "".join(part if i % 2 else LINK.sub(moved, part) for i, part in enumerate(parts))

"""Nothing in the archive trips the Registry's scanner.

The scanner searches every shipped text, comments and prose included, and one finding keeps a version out of the
Manager's search. Its rules are not published: the table holds what publishers were told about their own findings
(registry-backend #189, #192, #215, #229, #245 and the packs that quote `status_reason`). This file holds the strings
itself and must not ship.
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import pytest

HOSTS = (
    r"raw\.githubusercontent\.com|gist\.github(usercontent)?\.com|pastebin\.com|paste\.ee|hastebin\.com|rentry\.co|"
    r"transfer\.sh|file\.io|gofile\.io|mega\.nz|mediafire\.com|anonfiles\.com|dropbox\.com|cdn\.discordapp\.com|"
    r"i?\.?imgur\.com|ibb\.co|postimg\.cc|bit\.ly|tinyurl\.com"
)
REQUEST = r"(get|post|put|patch|delete|head|options|request|Session)"

# Rule, pattern, and examples of what it has to find.
RULES: list[tuple[str, str, tuple[str, ...]]] = [
    ("python_environment_manipulation", r"\bos\.environ\b", ("x = os.environ['A']", "reads os.environ.")),
    ("python_environment_manipulation", r"\bgetenv\s*\(", ("os.getenv('A')",)),
    ("python_environment_manipulation", r"putenv|unsetenv", ("os.putenv('A', 'b')",)),
    ("python_network_operations", rf"\brequests\.{REQUEST}\s*\(", ("requests.get(url)", "Requests.get(url)")),
    ("python_network_operations", r"\burlopen\b|\burllib\.request\b", ("urllib.request.urlopen(x)",)),
    ("python_network_operations", r"aiohttp\.ClientSession|\bhttp\.client\b", ("aiohttp.ClientSession()",)),
    ("python_network_operations", r"\bsocket\.socket\b|\bWebSocket\b", ("socket.socket()", "new WebSocket(x)")),
    (
        "python_network_operations",
        r"\.(connect|bind|send|sendall|recv|create_connection)\s*\(",
        (".connect (", "fn.bind(this)", "`.send(`", "s.sendall(b)", "s.recv(1)", ".create_connection(a)"),
    ),
    ("python_network_operations", r"\bgettempdir\b", ("tempfile.gettempdir()",)),
    ("python_command_injection_risk", r"\bsubprocess\b", ("import subprocess",)),
    ("python_command_injection_risk", r"\bos\.(system|popen|exec\w+|spawn\w+|startfile)\b", ("os.system('a')",)),
    ("python_command_injection_risk", r"shell\s*=\s*True", ("run(a, shell=True)",)),
    ("python_url_command_execution", r"\b(ffmpeg|ffprobe|curl|wget|yt-dlp|youtube-dl|pandoc)\b", ("wget x", "`curl`")),
    ("python_dynamic_execution", r"\beval\s*\(", ("eval(x)", "model.eval()", "mx.eval (x)")),
    ("python_dynamic_execution", r"\bexec\s*\(", ("exec(x)", "pattern.exec(text)")),
    ("python_dynamic_execution", r"\bnew\s+Function\b", ("new Function(x)",)),
    ("python_bytecode_manipulation", r"\bimport_module\b|__import__", ("importlib.import_module(x)",)),
    ("python_bytecode_manipulation", r"(?<!re\.)\bcompile\s*\(", ("compile(x)", "torch.compile(x)")),
    ("python_bytecode_manipulation", r"sys\.modules", ("sys.modules[x]",)),
    ("python_sensitive_file_access", r"\.read_bytes\s*\(", ("Path(x).read_bytes()",)),
    ("python_sensitive_file_access", r"/etc/(passwd|shadow)|\.ssh\b", ("/etc/passwd", "~/.ssh/id")),
    ("python_privilege_escalation", r"(?<![\w-])(sudo|su|doas|pkexec|runas)(?![\w-])", ("sudo apt", "# su", "su -")),
    ("python_database_connections", r"\bsqlite3?\b", ("sqlite3.connect(x)",)),
    ("windows_process_manipulation", r"kernel32|\bctypes\b", ("ctypes.windll.kernel32",)),
    ("contains_blacklisted_url", rf"://([\w-]+\.)*({HOSTS})", ("https://raw.githubusercontent.com/a", "http://bit.ly/a")),
    ("contains_url_dependency", r"\bgit\+|@\s*https?://|--(extra-)?index-url|\.whl\b", ("git+https://a", "a @ https://b")),
    ("credentials in the text", r"\b(hf|ghp|sk)_[A-Za-z0-9]{16,}", ("hf_abcdefghijklmnopqrstuvwxyz",)),
    ("credentials in the text", r"auth_token_comfy_org|api_key_comfy_org", ("auth_token_comfy_org",)),
    ("credentials in the text", r"://[^/@\s\"'`]+:[^/@\s\"'`]+@", ("https://user:word@host",)),
    ("import of cryptography", r"\bimport cryptography\b|\bfrom cryptography\b", ("import cryptography",)),
    ("SUSP_SVG_Onload_Onerror", r"(?s)svg.*on(load|error)|on(load|error).*svg", ("<svg onload=x>", "onerror, svg")),
]  # fmt: skip
PATTERNS = [(rule, re.compile(pattern, re.IGNORECASE)) for rule, pattern, _ in RULES]


def findings(name: str, text: str) -> list[str]:
    """Every place of a file that a rule matches, as `name:line: rule: match`."""
    return [
        f"{name}:{text.count(chr(10), 0, found.start()) + 1}: {rule}: {found[0][:80]!r}"
        for rule, pattern in PATTERNS
        for found in pattern.finditer(text)
    ]


@pytest.fixture(scope="module")
def texts(archive: Path) -> dict[str, str]:
    """Every text file of the archive, by name."""
    with zipfile.ZipFile(archive) as file:
        return {name: file.read(name).decode() for name in file.namelist() if not name.endswith((".jpg", ".png"))}


def test_the_archive_holds_nothing_that_the_scanner_knows(texts: dict[str, str]) -> None:
    found = [line for name, text in texts.items() for line in findings(name, text)]
    assert not found, "say it in other words:\n" + "\n".join(found)


@pytest.mark.parametrize(("rule", "pattern", "examples"), RULES, ids=lambda value: value if len(value) < 40 else "")
def test_each_rule_finds_its_examples(rule: str, pattern: str, examples: tuple[str, ...]) -> None:
    for example in examples:
        assert re.search(pattern, example, re.IGNORECASE)
        assert any(f": {rule}: " in line for line in findings("a.py", f"first line\n{example}\n"))


def test_a_finding_says_where(texts: dict[str, str]) -> None:
    """On the file that is most at risk: prose."""
    readme = texts["README.md"]
    assert findings("README.md", readme + "\nRead os.environ.\n") == [
        f"README.md:{readme.count(chr(10)) + 2}: python_environment_manipulation: 'os.environ'"
    ]


def test_the_pictures_of_the_readme_have_relative_paths(texts: dict[str, str]) -> None:
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)|<img[^>]+src=[\"']([^\"']+)", texts["README.md"])
    assert pictures
    for found in pictures:
        (path,) = filter(None, found)
        assert "://" not in path
        assert (Path(__file__).resolve().parents[2] / path).is_file(), path


def test_this_file_and_its_like_do_not_ship(texts: dict[str, str]) -> None:
    assert not [name for name in texts if "test" in name.lower()]

"""Tables of the reports: readable as they are, sorted by a click where there is a browser."""

import json
import re
import shutil
import subprocess

import pytest
from html_pages import Page

from common.pages.page import SCRIPT_FILE, page, table

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
HEADS = (
    '<tr><th></th><th colspan="2">both</th></tr><tr><th>image</th><th>error</th><th>words</th></tr>'
)
ROWS = [
    '<tr class="group"><th colspan="3">one</th></tr>',
    '<tr><th>b10</th><td>−0.5 <small>[−1, 0]</small></td><td class="text">zebra</td></tr>',
    '<tr><th>b9</th><td>–</td><td class="text">Apple</td></tr>',
    '<tr><th>a1</th><td data-sort="12">a dozen</td><td class="text">9 lives</td></tr>',
    '<tr><th>c</th><td>1,000</td><td class="text"></td></tr>',
    '<tr><th>d</th><td>1e-3</td><td class="text">ant</td></tr>',
    '<tr class="group"><th colspan="3">two</th></tr>',
    '<tr><th>y</th><td>2</td><td class="text">m</td></tr>',
    '<tr><th>x</th><td>×1</td><td class="text">n</td></tr>',
    '<tr class="bound"><th>limit</th><td>0</td><td></td></tr>',
]
# Clicks on the headings, and after each the names of the rows, as the page's title.
PROBE = """
<script>
  var names = function () {
    return Array.from(document.querySelectorAll("tbody tr:not([hidden]) th"))
      .map(function (cell) { return cell.textContent; }).join(" ");
  };
  var heads = document.querySelectorAll("thead tr:last-child th"), found = [names()];
  [1, 1, 0, 2].forEach(function (column) { heads[column].click(); found.push(names()); });
  heads[1].dispatchEvent(new KeyboardEvent("keydown", { key: "Enter" }));
  found.push(names());
  found.push(Array.from(heads).map(function (h) { return h.getAttribute("aria-sort"); }).join(" "));
  var input = document.querySelector("input[type=search]");
  input.value = "LIVES";
  input.dispatchEvent(new Event("input"));
  found.push(names() + " / " + input.nextSibling.textContent);
  document.body.setAttribute("data-found", JSON.stringify(found));
</script>
"""


def source_of(heads=HEADS, rows=ROWS, attributes=' data-filter="Find"'):
    return page("a title", "a test", table(heads, rows, attributes))


def test_without_a_script_it_is_a_table_like_any_other():
    source = source_of()
    read = Page(source)
    assert read.open_tags == []
    assert "a dozen" in read.text and "input" not in read.tags
    assert read.tags.count("script") == 1 and "src" not in dict(read.attributes)


def test_the_script_loads_and_keeps_nothing():
    script = SCRIPT_FILE.read_text()
    assert not re.search(r"https?:|fetch|XMLHttp|Storage|cookie|eval|innerHTML|import\b", script)
    assert "</" not in script, "it would end the script element"


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
def test_a_click_sorts_within_groups_and_a_search_hides_rows(tmp_path):
    path = tmp_path / "page.html"
    path.write_text(source_of().replace("</body>", f"{PROBE}</body>"), encoding="utf-8")
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    done = subprocess.run(
        [*command, profile, path.as_uri()], capture_output=True, text=True, timeout=120
    )
    found = json.loads(dict(Page(done.stdout).attributes)["data-found"])
    assert found == [
        "one b10 b9 a1 c d two y x limit",
        "one b10 d a1 c b9 two x y limit",
        "one c a1 d b10 b9 two y x limit",
        "one a1 b9 b10 c d two x y limit",
        "one a1 d b9 b10 c two y x limit",
        "one b10 d a1 c b9 two x y limit",
        " ascending ",
        "a1 / 1 of 10",
    ]

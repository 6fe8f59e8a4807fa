"""The page in a real browser, where one is at hand (Debian's chromium, driven by playwright)."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from dse.serve import Settings, create_app
from dse.serve.teaching import Teacher
from tests.serve.conftest import QUERY, TEXTS
from tests.serve.threads import running

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")


def test_search_rank_and_compare_by_keyboard(student, index):
    app = create_app(lambda: (student, index), Settings(api_key="secret"))
    with running(app) as port, playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 380, "height": 700})
        problems = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(f"http://127.0.0.1:{port}/")
        page.locator("#about", has_text="token is missing").wait_for()
        page.locator("#token").fill("secret")
        page.keyboard.press("Tab")
        page.locator("#columns", has_text="price").wait_for()
        rows, message = page.locator("#results tbody tr"), page.locator("#message")

        page.locator("#query").fill(QUERY)
        page.locator("#where").fill("price > 25")
        page.keyboard.press("Enter")
        playwright.expect(rows).to_have_count(2)
        assert "row-" in rows.first.inner_text() and "ms" in message.inner_text()

        page.locator("#where").fill("price >")
        page.keyboard.press("Enter")
        playwright.expect(message).to_contain_text("cannot be read")
        playwright.expect(rows).to_have_count(0)

        page.locator("input[value=search]").focus()
        page.keyboard.press("ArrowDown")
        page.locator("#texts").fill("\n".join(TEXTS))
        page.locator("button").press("Enter")
        playwright.expect(rows).to_have_count(len(TEXTS))
        best = TEXTS[student.rank(QUERY, TEXTS)[0]["corpus_id"]]
        assert best in rows.first.inner_text()

        page.locator("input[value=rank]").focus()
        page.keyboard.press("ArrowDown")
        page.locator("#other").fill("<b>a tent</b>")
        page.locator("button").press("Enter")
        playwright.expect(rows).to_have_count(1)
        assert "<b>a tent</b>" in rows.first.inner_text()
        assert page.evaluate("document.documentElement.scrollWidth") <= 380 and not problems
        browser.close()


def test_the_teacher_stands_beside_the_student(student):
    def by_length(query, texts):
        if query == "unknown":
            raise RuntimeError("the teacher broke")
        return np.array([len(text) for text in texts], np.float32)

    app = create_app(lambda: (student, None), teacher=Teacher("by length", by_length))
    with running(app) as port, playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1200, "height": 700})
        page.goto(f"http://127.0.0.1:{port}/")
        playwright.expect(page.locator("#taught")).to_contain_text("by length")
        rows, message = page.locator("#results tbody tr"), page.locator("#message")
        page.locator("#query").fill(QUERY)
        page.locator("#texts").fill("\n".join(TEXTS))
        page.keyboard.press("Tab")
        page.locator("button").press("Enter")
        playwright.expect(message).to_contain_text(f"for {len(TEXTS)} texts")
        by_place = sorted(TEXTS, key=len, reverse=True)
        for place in range(len(TEXTS)):
            cells = rows.nth(place).locator("td").all_inner_texts()
            assert float(cells[5]) == len(cells[1]) and int(cells[6]) == 1 + by_place.index(cells[1])

        page.locator("#query").fill("unknown")
        page.locator("button").press("Enter")
        playwright.expect(message).to_contain_text("; teacher:")
        playwright.expect(rows).to_have_count(len(TEXTS))  # the student's ranking stays
        browser.close()


def test_no_column_of_a_teacher_without_one(student):
    with running(create_app(lambda: (student, None))) as port, playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{port}/")
        page.locator("#about", has_text="dimensions").wait_for()
        page.locator("#query").fill(QUERY)
        page.locator("#texts").fill("\n".join(TEXTS))
        page.locator("button").press("Enter")
        playwright.expect(page.locator("#results tbody tr")).to_have_count(len(TEXTS))
        playwright.expect(page.locator("th.taught").first).to_be_hidden()
        browser.close()

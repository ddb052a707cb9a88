"""What a run may change of docs/benchmarks.md."""

from benchmarks import page

PAGE = "# Benchmarks\n\nHead.\n\n## One\n\nFirst.\n\n### Part\n\nOf one.\n\n## Two\n\nSecond.\n"


def test_a_section_takes_the_place_of_the_one_with_its_title() -> None:
    changed = page.with_section(PAGE, "## One", "## One\n\nNewer.\n")
    assert changed == "# Benchmarks\n\nHead.\n\n## One\n\nNewer.\n\n## Two\n\nSecond.\n"


def test_the_last_section_can_be_replaced() -> None:
    assert page.with_section(PAGE, "## Two", "## Two\n\nNewer.\n") == PAGE.replace("Second.", "Newer.")


def test_a_new_section_comes_last() -> None:
    assert page.with_section(PAGE, "## Three", "## Three\n\nThird.\n") == f"{PAGE}\n## Three\n\nThird.\n"


def test_a_section_put_in_twice_is_there_once() -> None:
    once = page.with_section(PAGE, "## Three", "## Three\n\nThird.\n")
    assert page.with_section(once, "## Three", "## Three\n\nThird.\n") == once

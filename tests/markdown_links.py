"""The links of a Markdown document, read by a parser of CommonMark."""

from markdown_it import MarkdownIt


def relative_targets(text: str) -> list[str]:
    """Return the targets of links and pictures that lead to no other host."""
    found = []
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        for child in token.children or ():
            target = child.attrGet("href") or child.attrGet("src") or ""
            found += [str(target)] if target and "://" not in str(target) else []
    return found

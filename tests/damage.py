"""Damaged and odd files, as strategies of hypothesis."""

import json
import re

from hypothesis import strategies as st

ODD = st.one_of(
    st.sampled_from(
        [
            *("", " ", "nan", "NaN", "NA", "inf", "-inf", "1e999", "-0.0", "0x1p-2", "1_0", "0,5"),
            *("1.5", "٣", "½", "\ufeff", "9" * 40, "1e-400", "true", "None", "[0]", "p00", "p01 "),
            *("P00", "train", "Test", "val\n", "\x00", "\r", '"', "''", "a" * 300, "=1+1", "#"),
        ]
    ),
    st.text(max_size=6),
    st.floats().map(repr),
    st.integers().map(str),
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@st.composite
def damaged(draw, whole: bytes) -> bytes:
    """The bytes of a file with bytes flipped, cut, doubled or added, or something else entirely."""
    kind = draw(st.sampled_from(["flip", "flip", "cut", "insert", "double", "other", "zeros"]))
    if kind == "other":
        return draw(st.binary(max_size=200))
    at = draw(st.integers(0, max(0, len(whole) - 1)))
    if kind == "flip":
        changed = bytearray(whole)
        for _ in range(draw(st.integers(1, 4))):
            changed[draw(st.integers(0, len(whole) - 1))] ^= draw(st.integers(1, 255))
        return bytes(changed)
    if kind == "cut":
        return whole[:at]
    if kind == "insert":
        return whole[:at] + draw(st.binary(min_size=1, max_size=20)) + whole[at:]
    length = draw(st.integers(1, 64))
    if kind == "zeros":  # a block that never reached the disk
        return whole[:at] + bytes(min(length, len(whole) - at)) + whole[at + length :]
    return whole[: at + length] + whole[at:]


@st.composite
def csv_files(draw, table: dict[str, list]) -> bytes:
    """A table as people and programs deliver it: odd cells, columns, line ends, encodings."""
    names = list(table)
    rows = [[str(cell) for cell in row] for row in zip(*table.values(), strict=True)]
    for _ in range(draw(st.integers(0, 3))):
        row = rows[draw(st.integers(0, len(rows) - 1))] if rows else []
        kind = draw(st.sampled_from(["cell", "cell", "cell", "double", "drop", "long", "short"]))
        if kind == "cell" and row:
            row[draw(st.integers(0, len(row) - 1))] = draw(ODD)
        elif kind == "double" and rows:
            rows.append(list(row))
        elif kind == "drop" and rows:
            rows.remove(row)
        elif kind == "long":
            for each in rows if draw(st.booleans()) else [row]:
                each.append(draw(ODD))
        elif kind == "short" and row:
            row.pop()
    head = draw(st.sampled_from(["as it is"] * 5 + ["swap", "rename", "none", "double", "twice"]))
    if head == "swap":
        names = names[::-1]
    elif head == "rename":
        names[draw(st.integers(0, len(names) - 1))] = draw(ODD)
    elif head == "double":
        names[-1] = names[0]
    lines = rows if head == "none" else [names, *rows]
    lines = [names, *lines] if head == "twice" else lines
    lines = lines[:1] if draw(st.integers(0, 19)) == 0 else lines
    return _as_bytes(draw, lines)


def _as_bytes(draw, lines: list[list[str]]) -> bytes:
    separator = draw(st.sampled_from([","] * 8 + [";", "\t"]))
    end = draw(st.sampled_from(["\n", "\n", "\r\n", "\r", "\n\n"]))
    quoted = draw(st.booleans())
    body = end.join(
        separator.join(
            '"' + cell.replace('"', '""') + '"' if quoted or re.search('[,\n\r"]', cell) else cell
            for cell in line
        )
        for line in lines
    )
    body += draw(st.sampled_from([end, "", "\x00", "\x1a"]))
    encoding = draw(st.sampled_from(["utf-8"] * 6 + ["utf-8-sig", "utf-16", "latin-1", "cp1252"]))
    return body.encode(encoding, "replace")


@st.composite
def json_files(draw, content) -> bytes:
    """A JSON file with bytes damaged, or one value somewhere in it replaced or removed."""
    text = json.dumps(content)
    if draw(st.booleans()):
        return draw(damaged(text.encode()))
    copy = json.loads(text)
    node, parent, key = copy, None, None
    for _ in range(draw(st.integers(0, 4))):
        if not isinstance(node, dict | list) or not node:
            break
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        parent, key = node, draw(st.sampled_from(keys))
        node = parent[key]
    if parent is None:
        copy = draw(JSON)
    elif draw(st.booleans()):
        parent[key] = draw(JSON)
    else:
        del parent[key]
    return json.dumps(copy).encode()

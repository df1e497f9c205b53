"""PromQL as Prometheus itself parses it: what a query compares, and the same query printed again."""

from __future__ import annotations

from typing import Any

Node = dict[str, Any]

COMPARISONS = frozenset({"==", "!=", ">", "<", ">=", "<="})
SET_OPERATORS = frozenset({"and", "or", "unless"})


def bare(node: Node) -> Node:
    """The node inside its parentheses."""
    while node["type"] == "parenExpr":
        node = node["expr"]
    return node


def operands(node: Node) -> list[Node]:
    """What an alert looks at: the two sides of every comparison and set operator, without bare numbers."""
    node = bare(node)
    if node["type"] == "numberLiteral":
        return []
    if node["type"] == "binaryExpr" and node["op"] in COMPARISONS | SET_OPERATORS:
        return [*operands(node["lhs"]), *operands(node["rhs"])]
    looked_at = without_filters(node)
    return [as_vector(looked_at) if is_scalar(node) else looked_at]


def is_scalar(node: Node) -> bool:
    node = bare(node)
    if node["type"] == "binaryExpr":
        return is_scalar(node["lhs"]) and is_scalar(node["rhs"])
    return bool(node["type"] == "numberLiteral" or node.get("func", {}).get("returnType") == "scalar")


def as_vector(node: Node) -> Node:
    return {"type": "call", "func": {"name": "vector"}, "args": [node]}


def without_filters(node: Any) -> Any:
    """The same expression with each comparison that filters replaced by what it filters."""
    if isinstance(node, list):
        return [without_filters(one) for one in node]
    if not isinstance(node, dict):
        return node
    if node.get("type") == "binaryExpr" and node["op"] in COMPARISONS and not node["bool"]:
        return without_filters(node["lhs"])
    return {key: without_filters(value) for key, value in node.items()}


def with_offsets(node: Any, offset: int) -> Any:
    """The same expression, which looks back less far wherever it looks back: by so many milliseconds."""
    if isinstance(node, list):
        return [with_offsets(one, offset) for one in node]
    if not isinstance(node, dict):
        return node
    return {
        key: (offset if value else 0) if key == "offset" else with_offsets(value, offset) for key, value in node.items()
    }


def printed(node: Node) -> str:
    """The expression as text that Prometheus reads."""
    return _PRINTERS[node["type"]](node)


def _binary(node: Node) -> str:
    matching = node["matching"] or {}
    said = ""
    if matching.get("on") or matching.get("labels"):
        said = f" {'on' if matching['on'] else 'ignoring'} ({', '.join(matching['labels'])})"
    if (card := matching.get("card", "")) in ("many-to-one", "one-to-many"):
        said += f" group_{'left' if card == 'many-to-one' else 'right'} ({', '.join(matching['include'])})"
    boolean = " bool" if node["bool"] else ""
    return f"({printed(node['lhs'])}) {node['op']}{boolean}{said} ({printed(node['rhs'])})"


def _aggregation(node: Node) -> str:
    by = f" {'without' if node['without'] else 'by'} ({', '.join(node['grouping'])})"
    parameter = f"{printed(node['param'])}, " if node["param"] else ""
    return f"{node['op']}{by} ({parameter}{printed(node['expr'])})"


def _selector(node: Node) -> str:
    matchers = ", ".join(f"{one['name']}{one['type']}{_quoted(one['value'])}" for one in node["matchers"])
    span = f"[{node['range']}ms]" if node["type"] == "matrixSelector" else ""
    return f"{{{matchers}}}{span}{_offset(node)}"


def _offset(node: Node) -> str:
    assert node["timestamp"] is node["startOrEnd"] is None
    return f" offset {node['offset']}ms" if node["offset"] else ""


def _subquery(node: Node) -> str:
    return f"({printed(node['expr'])})[{node['range']}ms:{node['step'] or 1000}ms]{_offset(node)}"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


_PRINTERS = {
    "numberLiteral": lambda node: str(node["val"]),
    "stringLiteral": lambda node: _quoted(node["val"]),
    "parenExpr": lambda node: f"({printed(node['expr'])})",
    "unaryExpr": lambda node: f"{node['op']}({printed(node['expr'])})",
    "call": lambda node: f"{node['func']['name']} ({', '.join(map(printed, node['args']))})",
    "binaryExpr": _binary,
    "aggregation": _aggregation,
    "vectorSelector": _selector,
    "matrixSelector": _selector,
    "subquery": _subquery,
}

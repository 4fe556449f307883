"""Manifests as kubectl and the API server read them; other kinds void nothing."""

from __future__ import annotations

import json
import tracemalloc

import pytest

from registry.model.facts import Service
from registry.model.names import Kind
from registry.sources.manifests.files import ManifestError, read_manifest
from registry.sources.manifests.objects import read_rows

SERVICE = """\
apiVersion: v1
kind: Service
metadata:
  name: echo
  namespace: shop
  labels: {app: echo}
spec:
  ports:
  - {name: http, port: 80}
"""
SERVICE_OF = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "echo", "namespace": "shop"},
    "spec": {"ports": [{"name": "http", "port": 80}]},
}
OTHER = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\nspec:\n"


def services(text: str | bytes, name: str = "x.yaml") -> list[Service]:
    content = text if isinstance(text, bytes) else text.encode()
    return [each.fact for each in read_manifest(name, content) if isinstance(each.fact, Service)]


def error_of(text: str | bytes, name: str = "x.yaml") -> str:
    with pytest.raises(ManifestError) as error:
        read_manifest(name, text if isinstance(text, bytes) else text.encode())
    return str(error.value)


@pytest.mark.parametrize(
    "spec",
    [
        "  args: [-, =, '!=']\n  enum:\n  - =\n  - =~\n",
        "  a: !!int ''\n",
        "  a: !!binary x\n",
        "  a: !!set {x, y}\n",
        "  a: !!timestamp nope\n",
        "  a: .inf\n",
        "  a: *nowhere\n",
        "  a: &a [*a]\n",
        "  ? [a, b]\n  : c\n",
        "  ~: c\n",
        "  a: 1\n  a: 2\n",
        "  <<: text\n",
        "  a: !!python/object:os.system {x: y}\n",
        "  a: !mine {x: y}\n",
        "  a: 99999999999999999999999999\n",
        "  a: 2001-99-99\n",
        "  a: 0o99\n",
        f"  a: {'1' * 5000}\n",
        f"  a: {'[' * 200}{']' * 200}\n",
        '  a: "\\0\\xff"\n',
        "  a: &big [x, x]\n  b: [" + "*big, " * 2000 + "]\n",
        f"  a: {'x' * 100_000}\n",
    ],
)
def test_value_in_a_kind_that_is_not_read_voids_nothing_beside_it(spec: str) -> None:
    for text in (
        f"{OTHER}{spec}---\n{SERVICE}",
        f"{SERVICE}---\n{OTHER}{spec}",
        f"apiVersion: v1\nitems:\n{as_item(OTHER + spec)}{as_item(SERVICE)}kind: List\n",
    ):
        (service,) = services(text)
        assert service.ports[0].port == 80


def as_item(text: str) -> str:
    return "".join(f"  {line}\n" for line in text.splitlines()).replace("  api", "- api", 1)


@pytest.mark.parametrize(
    "spec", ["  a: `x`\n", "  a: @x\n", "  a: [b\n", "  a: *.example.test\n", "  a: {{ x }\n", "  \ta: b\n"]
)
def test_text_that_is_no_yaml_voids_its_own_document_if_that_is_of_another_kind(spec: str) -> None:
    (service,) = services(f"{OTHER}{spec}---\n{SERVICE}")
    assert service.ports[0].port == 80
    wrong = SERVICE.replace("port: 80", "port: true")
    assert error_of(f"{OTHER}{spec}---\n{wrong}").startswith(f"x.yaml:{6 + spec.count(chr(10)) + 8}:")
    assert error_of(f"{SERVICE}---\n{OTHER}{spec}").startswith("x.yaml:")  # nothing follows: it may be cut off
    assert error_of(f"{SERVICE}{spec}---\n{SERVICE}").startswith("x.yaml:")


@pytest.mark.parametrize("end", [b"\r", b"\xc2\x85", b"\xe2\x80\xa8"])
def test_line_ends_that_only_yaml_knows_do_not_mislead_it_after_an_error(end: bytes) -> None:
    """Found by trying 100,000 broken texts: it began again at the same place, for ever."""
    text = OTHER.encode().replace(b"\n", end) + b"  a: [b" + end
    assert error_of(b"---\n" + text + b"---\nkind: X").startswith("x.yaml:")


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("{app: echo}", "{app: 1}", 6, 'labels[app]: Expected `str | null`, got `int`; write it in quotes: "1"'),
        ("{app: echo}", "{a.b/c: on}", 6, 'labels[a.b/c]: Expected `str | null`, got `bool`; write it in quotes: "on"'),
        ("{app: echo}", "{app: 1e3}", 6, 'write it in quotes: "1e3"'),
        ("{app: echo}", "\n    app: echo\n    since: 017", 8, "labels[since]: Expected `str | null`, got `int`"),
        ("port: 80", 'port: "80"', 9, "spec.ports[0].port: Expected `int`, got `str`; write it without quotes: 80"),
        ("port: 80", "port: 80.5", 9, "spec.ports[0].port: Expected `int`, got `float`"),
        ("port: 80", "port: !!int ''", 9, "'' is no int, as its tag !!int says; remove the tag"),
        ("port: 80", "port: 80, port: 81", 9, "the key 'port' twice in one mapping"),
        ("name: echo\n", "name: 22\n", 4, 'metadata.name: Expected `str`, got `int`; write it in quotes: "22"'),
        ("{app: echo}", "{app: .inf}", 6, ".inf is a number that JSON does not have; write it in quotes"),
    ],
)  # fmt: skip
def test_wrong_scalar_is_refused_with_line_field_and_mend(old: str, new: str, line: int, message: str) -> None:
    text = SERVICE.replace(old, new)
    assert error_of(text).startswith(f"x.yaml:{line}: Service")
    assert message in error_of(text)
    in_list = error_of(f"apiVersion: v1\nkind: List\nitems:\n{as_item(OTHER)}{as_item(text)}")
    assert in_list.startswith(f"x.yaml:{line + 7}: Service")
    assert message.removeprefix("spec.").removeprefix("metadata.") in in_list


def test_scalars_are_taken_as_the_api_server_gets_them() -> None:
    labels = "{at: 22:30, window: 1:30:00, on: x, 0x10: z, day: 2020-01-01, none: , tilde: ~, eq: =, v: 1.2.3}"
    (service,) = services(SERVICE.replace("{app: echo}", labels).replace("port: 80", "port: 0x50"))
    assert dict(service.labels) == {
        "at": "22:30",
        "window": "1:30:00",
        "true": "x",
        "16": "z",
        "day": "2020-01-01",
        "none": "",
        "tilde": "",
        "eq": "=",
        "v": "1.2.3",
    }
    assert service.ports[0].port == 80
    for port in ("80.0", "8e1", "0o120", "0120", "+80", "8_0"):
        assert services(SERVICE.replace("port: 80", f"port: {port}"))[0].ports[0].port == 80


def test_merges_and_aliases_are_expanded() -> None:
    text = SERVICE.replace("{app: echo}", "&l {app: echo}").replace("spec:", "spec:\n  selector: {<<: *l, tier: web}")
    assert dict(services(text)[0].selector) == {"app": "echo", "tier": "web"}
    shared = f"{as_item(SERVICE).replace('- api', '- &s' + chr(10) + '  api')}- <<: *s\n  metadata: {{name: other}}\n"
    assert [each.name for each in services(f"apiVersion: v1\nkind: List\nitems:\n{shared}")] == ["echo", "other"]


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbf" + SERVICE.encode(),
        SERVICE.encode("utf-16"),
        b"\xfe\xff" + SERVICE.encode("utf-16-be"),
        SERVICE.replace("\n", "\r\n").encode(),
        f"---\n{SERVICE}...\n".encode(),
        f"--- # first\n{SERVICE}---\n# only a comment\n---\n".encode(),
        f"%YAML 1.1\n---\n{SERVICE}".encode(),
        f"{SERVICE}---\n\xef\xbb\xbf".encode("latin-1") + b"\n",
        json.dumps(SERVICE_OF).encode(),
        f"{json.dumps(SERVICE_OF)}\n---\n{OTHER}".encode(),
        f"---\n{json.dumps(SERVICE_OF, indent=2)}".encode(),
    ],
)
def test_encodings_line_ends_and_separators(text: bytes) -> None:
    assert [each.name for each in services(text)] == ["echo"]


def test_lists_give_their_items_what_they_lack_even_if_their_kind_comes_last() -> None:
    bare = as_item(SERVICE.replace("apiVersion: v1\nkind: Service\n", "")).replace("  metadata", "- metadata", 1)
    assert [each.name for each in services(f"apiVersion: v1\nitems:\n{bare}kind: ServiceList\n")] == ["echo"]
    assert error_of(f"apiVersion: v1\nitems:\n{bare}kind: List\n").startswith("x.yaml:3: no apiVersion and kind")
    assert services(f"apiVersion: x.test/v1\nitems:\n{as_item(SERVICE)}kind: Bundle\n") == []
    nested = f"apiVersion: v1\nkind: List\nitems:\n{as_item(SERVICE)}"
    assert [each.name for each in services(f"apiVersion: v1\nkind: List\nitems:\n{as_item(nested)}")] == ["echo"]
    assert error_of("apiVersion: v1\nkind: List\nitems:\n- 5\n").startswith("x.yaml:4: items[0]: expected an object")


@pytest.mark.parametrize("items", ["[10.0.0.0/8, 10.1.0.0/16]", "[null]", "[[a]]", "[{cidr: 1, cidr: 2}]", "[.inf]"])
@pytest.mark.parametrize("head", ["kind: DenyList\napiVersion: x.test/v1\n", "apiVersion: v1\nkind: ConfigMapList\n"])
def test_items_of_a_kind_that_is_not_read_need_not_be_objects(head: str, items: str) -> None:
    for text in (f"{head}items: {items}\n", f"items: {items}\n{head}"):
        assert [each.name for each in services(f"{text}---\n{SERVICE}")] == ["echo"]
    document = '{"apiVersion": "x.test/v1", "kind": "DenyList", "items": ["10.0.0.0/8", 5]}'
    assert [each.name for each in services(f"{document}\n---\n{SERVICE}")] == ["echo"]


@pytest.mark.parametrize("indent", [None, 2])
def test_json_is_read_as_json(indent: int | None) -> None:
    odd = {
        **SERVICE_OF,
        "metadata": {"name": "echo", "namespace": "shop", "labels": {"team": "\U0001f680", "none": None}},
    }
    text = json.dumps(
        {"apiVersion": "v1", "kind": "List", "items": [odd, {"apiVersion": "apps/v1", "kind": "X"}]}, indent=indent
    )
    text = (
        text.replace(": 80", ": 80.0").replace('"shop"', r'"\u0073hop"').replace('"http"', r'"http", "x": "\/\ud800"')
    )
    for name in ("x.json", "x.yaml"):
        (service,) = services(text, name)
        assert dict(service.labels) == {"team": "\U0001f680", "none": ""}
        assert (service.namespace, service.ports[0].port) == ("shop", 80)


def test_json_texts_may_follow_each_other() -> None:
    second = {**SERVICE_OF, "metadata": {"name": "other"}}
    assert [each.name for each in services(f"{json.dumps(SERVICE_OF)}\n{json.dumps(second)}\n", "x.json")] == [
        "echo",
        "other",
    ]
    wrong = json.dumps(second).replace("80", '"80"')
    assert error_of(f"{json.dumps(SERVICE_OF)}\n\n{wrong}\n", "x.json").startswith(
        "x.json:3: Service spec.ports[0].port"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"apiVersion": "v1",\n "kind": "Node"', "x.json:2: the JSON is cut off"),
        ('{"apiVersion": "v1",\n "kind": "Node",}', "x.json:2: JSON is malformed: trailing comma"),
        ('{"apiVersion": "v1",\n "kind": "Node",\n "metadata": {"name": NaN}}', "x.json:3: JSON is malformed"),
        ('{"kind": "Node", "apiVersion": "v1",\n "x": 1,\n "y": {"k": 1, "k": 2}}', "x.json:3: the key 'k' twice"),
        ('{"apiVersion": "v1", "kind": "Node",\n "metadata": {"name": "a"}} x', "x.json:2: text after the end"),
        ('{"apiVersion": "v1", "kind": "Node",\n\n "metadata": {"name": 5}}', "x.json:3: Node metadata.name"),
    ],
)  # fmt: skip
def test_json_that_is_wrong_is_refused_with_its_line(text: str, message: str) -> None:
    found = error_of(text, "x.json")
    assert found.startswith(message)


def test_json_of_another_kind_voids_nothing_beside_it() -> None:
    """Deep nesting, half a surrogate pair, a key twice, numbers without end."""
    deep = "[" * 500 + "]" * 500
    other = f'{{"apiVersion": "x/v1", "kind": "X", "a": "\\ud83d", "b": {deep}, "c": 1e999, "c": {"9" * 5000}}}'
    text = f'{{"kind": "List", "apiVersion": "v1", "items": [{other}, {json.dumps(SERVICE_OF)}]}}'
    assert [each.name for each in services(text, "x.json")] == ["echo"]


def test_list_is_read_object_by_object() -> None:
    """The memory for a file is that for what is read of it: not that for its values."""
    item = as_item(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\n"
        + "metadata: {name: s, namespace: shop}\nports: [{port: 80}]\nendpoints:\n"
        + "".join(f"- {{addresses: [10.0.0.{n}], zone: a, conditions: {{ready: true}}}}\n" for n in range(1, 60))
    )
    content = f"apiVersion: v1\nitems:\n{''.join(item for _ in range(20))}kind: List\n".encode()
    tracemalloc.start()
    try:
        found = read_rows("x.yaml", content)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(found) == 20
    assert peak < 3 * len(content)


def test_lines_of_objects_are_those_of_the_file() -> None:
    text = f"# first\n---\n{SERVICE}---\n{SERVICE.replace('echo', 'other')}"
    assert [each.place for each in read_manifest("x.yaml", text.encode())] == ["x.yaml:3", "x.yaml:13"]
    items = json.dumps({"kind": "List", "apiVersion": "v1", "items": [SERVICE_OF] * 2}, indent=1)
    assert [each.place for each in read_manifest("x.json", items.encode())] == ["x.json:5", "x.json:21"]
    assert {each.fact.ref.kind for each in read_manifest("x.json", items.encode())} == {Kind.SERVICE}

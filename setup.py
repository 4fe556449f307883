"""Only what pyproject.toml cannot say: with MESH_REGISTRY_COMPILE=1 the hot modules are compiled by mypyc.

They are ordinary Python and run as such everywhere; compiled they take about half the CPU for a response
(benchmarks/README.md). That needs a C compiler, so it is asked for, by ``make wheel`` and by the image's build.
"""

import os

from setuptools import setup

COMPILED = (
    *(f"registry/rpc/{name}.py" for name in ["calls", "connection", "frames", "headers", "ledger", "limits", "link"]),
    *(f"registry/rpc/{name}.py" for name in ["listener", "messages", "open_calls", "outbox", "shared"]),
    *(f"registry/rpc/{name}.py" for name in ["streams", "turns", "vigil"]),
    *(
        f"registry/xds/{name}.py"
        for name in [
            "channel",
            "delta",
            "order",
            "resources",
            "response",
            "session",
            "sotw",
            "store",
            "subscription",
            "wire",
        ]
    ),
    *(
        f"registry/index/{name}.py"
        for name in ["addresses", "belief", "families", "index", "join", "lookup", "member", "merge", "ports", "store"]
    ),
    *(f"registry/sources/kubernetes/{name}.py" for name in ["framing", "listwatch", "telling", "watches"]),
    *(
        f"registry/views/{name}.py"
        for name in ["bundles", "gateways", "layouts", "order", "ranks", "shadows", "shares"]
    ),
    "registry/servers/ads.py",
    "registry/servers/publisher.py",
    "registry/stalls.py",
    "registry/views/eds.py",
    "registry/views/rendered.py",
)


def extensions() -> list[object]:
    if os.environ.get("MESH_REGISTRY_COMPILE") != "1":
        return []
    from mypyc.build import mypycify

    return list(mypycify([*COMPILED], opt_level="3", group_name="mesh_registry"))


setup(ext_modules=extensions())

"""A server over stdio that lists what a file says, in ways real servers do. Started by tests as a program.

`stdio_server.py LISTING.json` and any of --unordered --pages --circle --noise --modern --asks --silent --dies --zone
--late --only-modern.
"""

import json
import os
import sys
import time


def main() -> None:
    flags = set(sys.argv[2:])
    with open(sys.argv[1]) as file:
        listing = json.load(file)
    if "--unordered" in flags:
        # The order of a set of texts is another one at every start, because Python salts their hashes.
        fruit = ", ".join({"apple", "pear", "plum", "cherry", "quince", "medlar", "fig", "grape"})
        listing["tools"][0]["inputSchema"]["properties"]["q"]["default"] = fruit
    if "--zone" in flags:
        listing["tools"][0]["description"] += f" Zone {os.environ.get('TZ')}, {os.environ.get('LANG')}."
    if "--silent" in flags:
        time.sleep(60)
    if "--late" in flags:
        time.sleep(1.5)
    if "--noise" in flags:
        sys.stdout.write("Starting up, please wait ...\n")
    for line in sys.stdin:
        message = json.loads(line)
        if "id" in message and "method" in message:
            answer(message, listing, flags)


def answer(message: dict, listing: dict, flags: set[str]) -> None:
    method, number = message["method"], message["id"]
    if method == "server/discover":
        if "--dies" in flags:
            sys.exit(3)
        if "--modern" in flags:
            meta = {"io.modelcontextprotocol/serverInfo": {"name": "fixture", "version": "0.2.0"}}
            send(number, {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}, "_meta": meta})
        else:
            send(number, error={"code": -32601, "message": "Method not found"})
    elif method == "initialize" and "--only-modern" in flags:
        send(number, error={"code": -32022, "message": "initialize not accepted"})
    elif method == "initialize":
        info = {"name": "fixture", "version": listing.get("version", "0.2.0")}
        send(
            number,
            {
                "protocolVersion": "2025-06-18",
                "capabilities": {"tools": {}, **({"prompts": {}} if "prompts" in listing else {})},
                "serverInfo": info,
                **({"instructions": listing["instructions"]} if "instructions" in listing else {}),
            },
        )
    elif method == "tools/list":
        if "--modern" in flags and "_meta" not in message["params"]:
            send(number, error={"code": -32602, "message": "Says no version"})
            return
        if "--asks" in flags:
            # Servers may ask the client something while it waits.
            write({"jsonrpc": "2.0", "id": "s1", "method": "ping"})
            write({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "hm"}})
            write({"jsonrpc": "2.0", "id": "s2", "method": "roots/list"})
        tools = listing["tools"]
        if "--pages" in flags:
            start = int(message["params"].get("cursor", "0"))
            page = {"tools": tools[start : start + 2]}
            send(number, page | ({"nextCursor": str(start + 2)} if start + 2 < len(tools) else {}))
        elif "--circle" in flags:
            send(number, {"tools": tools, "nextCursor": "again"})
        else:
            send(number, {"tools": tools})
    elif method == "prompts/list":
        send(number, {"prompts": listing["prompts"]})
    else:
        send(number, error={"code": -32601, "message": "Method not found"})


def send(number: object, result: object = None, error: object = None) -> None:
    write({"jsonrpc": "2.0", "id": number, **({"error": error} if error else {"result": result})})


def write(message: object) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


main()

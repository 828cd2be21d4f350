"""Apps that send blobs of given sizes as nodes/messages.py does, and do nothing else."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from flwr.app import Array, ArrayRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

PAUSE_SECONDS = 10.0  # between two blobs, so that counts can be told apart

client = ClientApp()
server = ServerApp()


@client.query("blob")
def blob(message: Message, context: Context) -> Message:
    size = int(message.metadata.group_id)
    array = Array(dtype="uint8", shape=(size,), stype="fedbits.blob", data=os.urandom(size))
    return Message(RecordDict({"fedbits.blob": ArrayRecord({"blob": array})}), reply_to=message)


@server.main()
def main(grid: Grid, context: Context) -> None:
    """Ask for each size in turn; times and sizes received go to the file that the run config names."""
    while not (addresses := list(grid.get_node_ids())):
        time.sleep(0.5)
    received = []
    for size in str(context.run_config["sizes"]).split(","):
        time.sleep(PAUSE_SECONDS)
        ask = Message(RecordDict(), dst_node_id=addresses[0], message_type="query.blob", group_id=size)
        started = time.time()
        (reply,) = grid.send_and_receive([ask], timeout=600)
        array = reply.content["fedbits.blob"]["blob"]  # type: ignore[index]
        received.append({"size": len(array.data), "start": started, "end": time.time()})  # type: ignore[union-attr]
    Path(str(context.run_config["result"])).write_text(json.dumps(received))

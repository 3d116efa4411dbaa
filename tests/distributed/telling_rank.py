"""A rank that trains nothing and tells where it is: what a launcher must get right, without TensorFlow's seconds."""

import importlib.util
import json
import os
import socket
import sys


def main() -> None:
    spec = json.loads(sys.stdin.readline())
    if spec["rank"] == 0:
        server = socket.create_server((spec["address"], 0))
        say({"rendezvous_port": server.getsockname()[1]})
    meeting = json.loads(sys.stdin.readline())
    say({"result": {"address": spec["address"], "interface": spec["interface"], "meeting": meeting,
                    "gpus": os.environ["CUDA_VISIBLE_DEVICES"],
                    "package": importlib.util.find_spec("farandole.train.rank").origin}})  # fmt: skip


def say(message: dict) -> None:
    print(json.dumps(message), flush=True)


if __name__ == "__main__":
    main()

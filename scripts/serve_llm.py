"""Serve a GGUF model on loopback, as OpenAI's API: python -m scripts.serve_llm model.path=MODEL.gguf

    server.slots=4 server.context_tokens=4096 server.threads=2 server.port=0

Needs the extra `serve` (pip install 'latro-pract[serve]'). Ctrl-C ends it.
"""

import signal
import threading
import time

from omegaconf import DictConfig

from scripts.entry import script


@script("serve_llm")
def main(cfg: DictConfig) -> None:
    """Load, print the address and how to use it, serve until told to stop."""
    from hydra.utils import instantiate

    stop = threading.Event()

    def end(number: int, frame: object) -> None:
        """A second signal ends the process at once: told to stop while it loads, the server may hang."""
        stop.set()
        signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    started = time.perf_counter()
    server = instantiate(cfg.server)
    served = server.start()
    print(
        f"serving {served.model} at {served.base_url} after {time.perf_counter() - started:.1f} s", flush=True
    )
    print(
        f"{server.slots} slots of {server.context_tokens} tokens, threads: {server.threads}; Ctrl-C ends it"
    )
    print(f"use it: llm=llama_cpp llm.base_url={served.base_url} llm.model={served.model}", flush=True)
    stop.wait()
    served.stop()
    print("stopped")


if __name__ == "__main__":
    main()

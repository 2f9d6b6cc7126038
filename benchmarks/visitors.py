"""How long visitors of the page wait for an answer, alone and many at once, over HTTP on this machine.

python benchmarks/visitors.py --index demo/index                   # 20 visitors, 10 drawings each

Every visitor draws something of its own and asks again as soon as it is answered; each answer must be what the same drawing
found when it was asked alone.
"""

import argparse
import http.client
import io
import itertools
import re
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from synthetic.pictures import draw_sketch
from synthetic.shapes import SEEN
from utils.errors import report_errors
from utils.parser import positive_int

SEARCH = Path(__file__).resolve().parent.parent / "search.py"


def drawing(visitor: int) -> bytes:
    """A PNG as the page sends it."""
    file = io.BytesIO()
    draw_sketch(SEEN[visitor % len(SEEN)], visitor, side=512).save(file, "PNG")
    return file.getvalue()


def ask(port: int, picture: bytes) -> tuple[float, bytes]:
    """Seconds, and what was found."""
    started = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request("POST", "/search?k=20", picture)
    answer = connection.getresponse()
    found = answer.read()
    connection.close()
    if answer.status != 200:
        raise RuntimeError(found.decode())
    return time.perf_counter() - started, found


def visit(port: int, picture: bytes, times: int, expected: bytes) -> list[float]:
    """Seconds of each answer."""
    answers = [ask(port, picture) for _ in range(times)]
    if any(found != expected for _, found in answers):
        raise RuntimeError("a visitor got what was found for another, or for nobody")
    return [seconds for seconds, _ in answers]


def row(title: str, seconds: list[float]) -> str:
    in_order = sorted(seconds)
    slowest = in_order[int(0.95 * (len(in_order) - 1))]
    return f"{title:24}{1000 * statistics.median(seconds):10.0f} ms{1000 * slowest:14.0f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--index", type=Path, required=True)
    parser.add_argument("--visitors", type=positive_int, default=20)
    parser.add_argument("--drawings", type=positive_int, default=10, help="that each visitor asks with")
    options = parser.parse_args()
    words = [sys.executable, str(SEARCH), "serve", "--index", str(options.index), "--port", "0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server:
        try:
            port = int(re.search(r"http://127\.0\.0\.1:(\d+)", server.stdout.readline())[1])
            pictures = [drawing(visitor) for visitor in range(options.visitors)]
            ask(port, pictures[0])  # the first waits for what is loaded late
            alone = [ask(port, picture) for picture in pictures]
            print(f"{'':24}{'median':>13}{'95 % within':>17}")
            print(row("one after another", [seconds for seconds, _ in alone]))
            expected = [found for _, found in alone]
            with ThreadPoolExecutor(options.visitors) as pool:
                waits = pool.map(visit, itertools.repeat(port), pictures, itertools.repeat(options.drawings), expected)
                print(row(f"{options.visitors} at once", list(itertools.chain(*waits))))
        finally:
            server.terminate()


if __name__ == "__main__":
    with report_errors():
        main()

"""Time that visitors of the page wait for an answer, one after another and many at once, over HTTP on this machine.

python benchmarks/visitors.py --index demo/index                   # 20 visitors, 10 searches each

Each visitor has another drawing and searches again as soon as it is answered. Each answer must equal the answer to the same
drawing when no other visitor was there.
"""

import argparse
import http.client
import io
import itertools
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from synthetic.pictures import draw_sketch
from synthetic.shapes import SEEN
from utils.errors import report_errors
from utils.parser import positive_int

SEARCH = Path(__file__).resolve().parent.parent / "search.py"


def drawing(visitor: int) -> bytes:
    """A sketch as the PNG that the page sends."""
    file = io.BytesIO()
    draw_sketch(SEEN[visitor % len(SEEN)], visitor, side=512).save(file, "PNG")
    return file.getvalue()


def search(port: int, picture: bytes) -> tuple[float, bytes]:
    """(seconds, body of the answer)."""
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
    """Seconds until each answer."""
    answers = [search(port, picture) for _ in range(times)]
    if any(found != expected for _, found in answers):
        raise RuntimeError("a visitor received a wrong answer")
    return [seconds for seconds, _ in answers]


def port_of(server: subprocess.Popen[str]) -> int:
    """The port that the server names in its first line."""
    line = server.stdout.readline() if server.stdout else ""
    match = re.search(r"http://127\.0\.0\.1:(\d+)", line)
    if match is None:
        raise RuntimeError(f"the server did not start: {line}")
    return int(match[1])


def row(title: str, seconds: list[float]) -> str:
    """A line of the table: median and 95th percentile."""
    median, slowest = np.percentile(seconds, [50, 95]) * 1000
    return f"{title:24}{median:10.0f} ms{slowest:14.0f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--index", type=Path, required=True)
    parser.add_argument("--visitors", type=positive_int, default=20)
    parser.add_argument("--drawings", type=positive_int, default=10, help="searches of each visitor")
    options = parser.parse_args()
    command = [sys.executable, str(SEARCH), "serve", "--index", str(options.index), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            port = port_of(server)
            pictures = [drawing(visitor) for visitor in range(options.visitors)]
            search(port, pictures[0])  # warm-up
            alone = [search(port, picture) for picture in pictures]
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

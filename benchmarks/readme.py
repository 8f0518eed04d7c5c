"""Put the tables in benchmarks/results/ where benchmarks/README.md names them.

    python -m benchmarks.readme

Between <!-- NAME.md --> and <!-- end --> there is then what results/NAME.md holds; where that file is missing,
what stood there stays.
"""

import re
from pathlib import Path

from benchmarks.speed import RESULTS

README = Path(__file__).with_name("README.md")
PLACE = re.compile(r"(<!-- (\S+\.md) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(text: str, results: Path) -> str:
    def table(place: re.Match[str]) -> str:
        file = results / place[2]
        return f"{place[1]}{file.read_text().rstrip()}\n{place[3]}" if file.exists() else place[0]

    return PLACE.sub(table, text)


def main() -> None:
    README.write_text(filled(README.read_text(), RESULTS))


if __name__ == "__main__":
    main()

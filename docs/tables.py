"""`make docs`: the tables that can be read from the code, as pages (`docs/mixers.md`, `docs/recipes.md`)."""

from pathlib import Path

from core.training.catalogue import listing
from core.training.recipes import recipes

HERE = Path(__file__).parent


def markdown(rows: list[list[str]]) -> str:
    """Rows as a table, the first one its head."""
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def main() -> None:
    """Writes the pages."""
    mixers = listing()
    mixers[0][-1] = "what it does"
    (HERE / "mixers.md").write_text(
        "# Mixers\n\nWhat each takes, read from its signature (`omnimix core list`).\n\n" + markdown(mixers) + "\n"
    )
    keys = ("model", "data", "cost", "published", "measured")
    rows = [["recipe", "what it does", *keys]]
    rows += [[f"`{r.domain} {r.name}`", r.summary, *(r.facts.get(k, "") for k in keys)] for r in recipes()]
    (HERE / "recipes.md").write_text(
        "# Recipes\n\nShipped configurations (`omnimix recipes`).\n\n" + markdown(rows) + "\n"
    )


if __name__ == "__main__":
    main()

"""Renews the renders that changes of the chart are reviewed by: python -m tests.deploy.helm.golden"""

from tests.deploy.helm.charts import CHART, EXAMPLES, GOLDEN, rendered

# Rules and dashboards stand in deploy/monitoring, where their changes are seen.
LEFT_OUT = ("templates/prometheusrule.yaml", "templates/dashboards.yaml")


def renders() -> dict[str, str]:
    """By the name of a file of values, what helm makes of it."""
    found = {}
    for path in EXAMPLES:
        parts = rendered(path).split("---\n# Source: babelclip/")
        kept = [part for part in parts if not part.startswith(LEFT_OUT)]
        found[path.name] = "---\n# Source: babelclip/".join(kept)
    return found


def main() -> None:
    """Write all of them anew."""
    GOLDEN.mkdir(exist_ok=True)
    for path in GOLDEN.glob("*.yaml"):
        path.unlink()
    for name, content in renders().items():
        (GOLDEN / name).write_text(content, encoding="utf-8")
    print(f"{len(list(GOLDEN.iterdir()))} renders of {CHART.name} in {GOLDEN}")


if __name__ == "__main__":
    main()

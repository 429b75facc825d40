"""The benchmark's numbers as a page of the documentation."""

from __future__ import annotations

from typing import Any


def page_text(result: dict[str, Any]) -> str:
    rows = result["contestants"]
    files = {n: r for n, r in rows.items() if " MP" not in n}
    sizes = {n: r for n, r in rows.items() if " MP" in n}
    return "\n".join(
        [
            "# Speed: file to 8-bit sRGB in memory",
            "",
            "Made by `python benchmarks/render.py --json benchmarks/results/render.json`; do not edit.",
            "",
            *circumstances(result),
            "",
            *contestants(files, result["megapixels"]),
            "",
            *verdict(files),
            "",
            "## Which part costs what",
            "",
            *parts(result.get("parts", {})),
            "## Large pictures",
            "",
            "Copies of the mosaic side by side, in memory; rendering alone, without reading a file.",
            "",
            *scaling(sizes),
            "",
        ]
    )


def circumstances(result: dict[str, Any]) -> list[str]:
    made = result["environment"]
    libraries = ", ".join(f"{k} {v}" for k, v in made["libraries"].items())
    return [
        f"`{result['file']}` ({result['megapixels']:g} MP), {made['date']}, commit {made['commit']}.",
        f"{made['machine']}, {result['threads']} used; {made['system']}; {libraries}. Load average "
        f"{result['load_average_before']:.1f} before and {result['load_average_after']:.1f} after.",
        "",
        "Every contestant in its own process, two threads. Warm: median of "
        f"{result['runs']} pictures (1 where a picture takes over 8 s); cold: the first, compilation included. "
        "The contestants do not do the same work: compare what you need. RawTherapee and darktable write a TIFF file.",
    ]


def contestants(rows: dict[str, Any], megapixels: float) -> list[str]:
    lines = [
        "| contestant | warm wall s | warm CPU s | wall s/MP | CPU s/MP | cold wall s | cold CPU s | peak MiB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        if "warm" not in row:
            lines.append(f"| {name} | {row.get('skipped') or row.get('failed')} |||||||")
            continue
        wall, cpu = row["warm"]["wall_s"], row["warm"]["cpu_s"]
        lines.append(
            f"| {name} | {wall:.3f} | {cpu:.3f} | {wall / megapixels:.4f} | {cpu / megapixels:.4f} "
            f"| {row['cold']['wall_s']:.2f} | {row['cold']['cpu_s']:.2f} | {row['peak_mib']:.0f} |"
        )
    return lines


def verdict(rows: dict[str, Any]) -> list[str]:
    """The ratios that the project promises to keep."""
    if not all(
        "warm" in rows.get(n, {}) for n in ("rawpy AHD", "ispkit neutral (fused)", "ispkit camera-like (fused)")
    ):
        return []
    ahd = rows["rawpy AHD"]["warm"]["cpu_s"]
    neutral, camera = (rows[f"ispkit {n} (fused)"]["warm"]["cpu_s"] / ahd for n in ("neutral", "camera-like"))
    return [
        f"CPU time beside rawpy AHD's: `neutral` {neutral:.2f} (promised: at most 0.20), "
        f"`camera-like` {camera:.2f} (promised: at most 1.00)."
    ]


def parts(found: dict[str, Any]) -> list[str]:
    lines = []
    for title, table in found.items():
        unit = "CPU s/MP" if title.endswith("torch") else "CPU s"
        lines += [f"| {title} | {unit} |", "|---|---|"]
        lines += [f"| {name} | {seconds:.4f} |" for name, seconds in table.items()] + [""]
    return lines


def scaling(rows: dict[str, Any]) -> list[str]:
    """Time per megapixel, and memory beside the input (float32 mosaic) and the output (uint8 RGB)."""
    lines = [
        "| job | MP | warm wall s/MP | warm CPU s/MP | peak MiB | of it input + output MiB | added by rendering MiB |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        if "warm" not in row:
            lines.append(f"| {name} | {row.get('skipped') or row.get('failed')} ||||||")
            continue
        size = row["megapixels"]
        held = size * 1e6 * 7 / 2**20
        added = row["peak_mib"] - row["peak_mib_before"] - size * 1e6 * 3 / 2**20
        lines.append(
            f"| {name} | {size:.1f} | {row['warm']['wall_s'] / size:.4f} | {row['warm']['cpu_s'] / size:.4f} "
            f"| {row['peak_mib']:.0f} | {held:.0f} | {added:.0f} |"
        )
    return lines

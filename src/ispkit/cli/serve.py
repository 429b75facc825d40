"""`ispkit serve`: RAW files and camera frames over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ispkit.isp.pipeline import ISP
    from ispkit.perceive.head import Head
    from ispkit.perceive.joint import JointModel
    from ispkit.serve.engine import Engine

_MB = 1_000_000


def serve(
    isp: Annotated[
        str | None,
        typer.Option(
            "--isp", "-i", help="Weights (.safetensors), a preset, a recipe, rawtherapee, ...: makes pictures."
        ),
    ] = None,
    head: Annotated[
        str | None,
        typer.Option(
            "--head", help="What looks at the pictures: mobilenet-v1, fastestdet, ..., a .yaml or .tflite file."
        ),
    ] = None,
    weights: Annotated[
        list[str] | None, typer.Option("--weights", "-w", metavar="FILE", help="Of --head; repeat for several parts.")
    ] = None,
    classes: Annotated[
        Path | None, typer.Option("--names", metavar="FILE", help="Of the classes of --head, a line each.")
    ] = None,
    onnx: Annotated[
        Path | None, typer.Option("--onnx", metavar="FILE", help="ONNX Runtime for --isp: what `ispkit export` wrote.")
    ] = None,
    host: Annotated[str, typer.Option("--host", help="0.0.0.0 lets other machines in; anybody there.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", "-p", help="0 takes a free one.")] = 8000,
    cert: Annotated[Path | None, typer.Option("--cert", metavar="PEM", help="Certificate, for https.")] = None,
    key: Annotated[Path | None, typer.Option("--key", metavar="PEM", help="Its key.")] = None,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Frames that are worked on together, at most.")] = 8,
    wait_ms: Annotated[float, typer.Option("--wait-ms", min=0, help="How long a frame waits for company.")] = 4.0,
    most_mb: Annotated[float, typer.Option("--most-mb", help="Largest body of a request, MB.")] = 64.0,
    most_pixels: Annotated[float, typer.Option("--most-pixels", help="Largest picture, millions of pixels.")] = 50.0,
    concurrency: Annotated[
        int, typer.Option("--concurrency", help="Requests at a time; one more is told to come again.")
    ] = 16,
    timeout: Annotated[float, typer.Option("--timeout", help="Seconds for a whole request.")] = 30.0,
    threads: Annotated[int, typer.Option("--threads", min=0, help="Of torch and ONNX Runtime; 0: all cores.")] = 0,
    device: Annotated[str, typer.Option("--device", help="cpu or cuda.")] = "cpu",
    sensor: Annotated[
        str, typer.Option("--sensor", help="Whose noise a picture gets that is made dark (lux=...).")
    ] = "nexus-6p-rear",
    colors: Annotated[str, typer.Option("--colors", help="Of that sensor: srgb, sensor or random.")] = "srgb",
) -> None:
    """Serve an ISP, a head that looks at its pictures, or both, over HTTP, with a page for browsers and phones.

    POST a RAW file, a dump with its geometry, a JPEG or a PNG to /v1/see; the answer is JSON (classes, boxes or
    regions, and where the time went) or a picture. /health, /metrics (Prometheus) and /about tell of the server. It
    keeps nothing. It knows no users and no passwords: behind anything but your own network put a proxy that does.

    Ctrl-C or SIGTERM ends it when the requests that have begun are answered.

    Examples:
    ispkit serve --isp camera-like

    ispkit serve --isp anscombe.safetensors --head mobilenet-v1 --weights mobilenet.pth --batch 32 --device cuda

    ispkit serve --isp cameranet.safetensors --onnx cameranet.onnx --threads 4

    curl --data-binary @IMG_0001.dng 'http://127.0.0.1:8000/v1/see?as=jpeg' -o picture.jpg

    curl --data-binary @scene.raw 'http://127.0.0.1:8000/v1/see?width=640&height=480&bits=10&cfa=RGGB' -o scene.jpg

    Phones give a page the camera over https alone. A certificate of your own, which the phone will warn of:

    openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=ispkit -keyout key.pem -out cert.pem

    ispkit serve --isp camera-like --head head.yaml --host 0.0.0.0 --cert cert.pem --key key.pem
    """
    _check_packages()
    from ispkit.core.errors import ParamError
    from ispkit.serve.dark import Darkness
    from ispkit.serve.limits import Limits
    from ispkit.serve.run import Address, level_memory
    from ispkit.serve.run import serve as run
    from ispkit.serve.service import Service

    level_memory()
    limits = Limits(
        most_bytes=_whole("--most-mb", most_mb * _MB),
        most_pixels=_whole("--most-pixels", most_pixels * 1e6),
        concurrency=concurrency,
        timeout_s=timeout,
    )
    address = Address(host, port, cert, key)
    darkness = Darkness(sensor, colors)  # type: ignore[arg-type]  # it checks the word
    names = {"isp": isp, "head": head}
    looking = None if head is None else _head(head, weights or [], classes)
    if head is None and (weights or classes):
        raise ParamError("--weights and --names are those of --head; name it, or leave them out")
    engine = opened(isp, looking, onnx=onnx, device=device, batch=batch, threads=threads)
    service = Service(
        engine,
        limits=limits,
        wait_s=wait_ms / 1000,
        darkness=darkness,
        names={k: Path(v).name for k, v in names.items() if v},
    )
    run(service, address, lambda url: print(f"ispkit serve: {url} (Ctrl-C ends it)", flush=True))
    print(f"ended; {service.metrics.count} requests answered, {service.metrics.errors} of them refused")


def opened(isp: str | None, head: Head | None, *, onnx: Path | None, device: str, batch: int, threads: int) -> Engine:
    """The engine of what the options name. Raises `ParamError`, `FileError`."""
    import torch

    from ispkit.core.errors import ParamError
    from ispkit.isp.catalog import open_isp
    from ispkit.serve.engine import Engine

    if isp is None and head is None:
        raise ParamError("nothing to serve; give --isp, --head, or both")
    if device != "cpu" and not (device.startswith("cuda") and torch.cuda.is_available()):
        raise ParamError(f"--device {device!r} is not here; use cpu" + ("" if device == "cpu" else " or cuda"))
    if threads:
        torch.set_num_threads(threads)
    joint = None if isp is None or head is not None else _joint(isp)
    if joint is not None and onnx is not None:
        raise ParamError("--onnx does not go with weights that hold a head as well; leave out one of the two")
    if joint is not None:
        return Engine(joint.isp, joint.head, device=device, batch=batch)
    found = None if isp is None else open_isp(isp)
    if onnx is not None:
        found = _in_onnx(found, onnx, device, threads)
    return Engine(found, head, device=device, batch=batch)


def _joint(file: str) -> JointModel | None:
    """An ISP and its head, where the file of weights holds both. Raises `FileError`."""
    from ispkit.isp.learned.weights import read_card
    from ispkit.perceive.joint import JointModel

    if not file.endswith(".safetensors") or read_card(file).head is None:
        return None
    return JointModel.load(file)


def _in_onnx(isp: ISP | None, file: Path, device: str, threads: int) -> ISP:
    from ispkit.core.errors import ParamError
    from ispkit.isp.learned.learned_isp import LearnedISP
    from ispkit.serve.onnx_isp import OnnxISP

    if not isinstance(isp, LearnedISP):
        raise ParamError("--onnx needs --isp with the weights (.safetensors) that it was exported from")
    if device != "cpu":
        raise ParamError("--onnx runs on the CPU; leave out --device, or --onnx")
    return OnnxISP(isp, file, threads=threads)


def _head(name: str, weights: list[str], names: Path | None) -> Head:
    """As `open_head` opens it."""
    from ispkit.core.errors import ParamError
    from ispkit.perceive.heads import open_head

    options: dict[str, Any] = {"weights": weights} if weights else {}
    opened = open_head(name, **options, **({"names": names} if names is not None else {}))
    if not opened.trained:
        raise ParamError(
            f"--head {name} has fresh weights, which see nothing; pass --weights, or 'published' to be told"
        )
    return opened


def _whole(flag: str, value: float) -> int:
    from ispkit.core.errors import ParamError

    if not 1 <= value < float("inf"):
        raise ParamError(f"{flag} must be a number above 0")
    return int(value)


def _check_packages() -> None:
    from ispkit.core.errors import MissingExtraError

    try:
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(f"serving needs the package {error.name}; pip install 'ispkit[serve]'") from None

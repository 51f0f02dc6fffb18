"""What is asked of weights that another program trained, and of those that one is to read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from flows.setting import NATURE, PROCESSING, Setting
from segmentation.models.processing import LARGEST_ZOOM, check_zoom


class Conversion(BaseModel):
    """Weights, the folder of the bundle that they become, and what the weights do not say
    themselves."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    checkpoint: Annotated[
        str,
        Field(
            title="Checkpoint",
            description="Weights of PyTorch or Lightning, safetensors, ONNX, or smp's "
            "save_pretrained: a file, a folder, hf://OWNER/NAME[/FILE] or an address.",
        ),
        Setting(argument=True, metavar="CHECKPOINT", form=None),
    ]
    out: Annotated[
        Path,
        Field(title="Output folder", description="Folder of the bundle."),
        Setting(option="--out -o", metavar="DIR", form=None, disk=True),
    ]
    like: Annotated[
        str,
        Field(title="Like", description="A model of the same nature."),
        Setting(NATURE, metavar="MODEL|CARD.json", form=None),
    ] = ""
    architecture: Annotated[
        str,
        Field(
            title="Architecture",
            description="A network of `landweave models --architectures`; without one, an ONNX "
            "file is kept as the graph it is.",
        ),
        Setting(NATURE, metavar="NAME", form=None),
    ] = ""
    encoder: Annotated[
        str,
        Field(title="Encoder", description="By segmentation-models-pytorch's name."),
        Setting(NATURE, metavar="NAME", form=None),
    ] = ""
    options: Annotated[
        dict[str, Any],
        Field(title="Settings", description="Settings of the architecture."),
        Setting(NATURE, option="--set", metavar="KEY=VALUE,…", form=None),
    ] = {}
    bands: Annotated[
        tuple[str, ...],
        Field(title="Bands", description="In the order of the input channels."),
        Setting(NATURE, metavar="NAME,…", form=None),
    ] = ()
    classes: Annotated[
        tuple[str, ...],
        Field(title="Classes", description="In the order of the output channels; also VALUE=NAME."),
        Setting(NATURE, metavar="NAME,…", form=None),
    ] = ()
    mean: Annotated[
        tuple[str, ...],
        Field(title="Mean", description="What was subtracted from each band; one number for all."),
        Setting(NATURE, metavar="V,…", form=None),
    ] = ()
    std: Annotated[
        tuple[str, ...],
        Field(
            title="Deviation", description="What each band was then divided by; one number for all."
        ),
        Setting(NATURE, metavar="V,…", form=None),
    ] = ()
    units: Annotated[
        Literal["reflectance", "dn"] | None,
        Field(title="Units", description="Of mean and std: 0–1 or the file's numbers."),
        Setting(NATURE, form=None),
    ] = None
    dtype: Annotated[
        str,
        Field(title="Type", description="Of the files it was trained on, such as uint16."),
        Setting(NATURE, metavar="TYPE", form=None),
    ] = ""
    gsd: Annotated[
        float | None,
        Field(title="Pixel size", description="Pixel size it was trained at."),
        Setting(NATURE, metavar="M", form=None),
    ] = None
    tile: Annotated[
        int | None,
        Field(
            ge=1,
            le=65536,
            title="Tile",
            description="Length of a tile without its margin; for a network that sees its whole "
            "chip, about three quarters of the chips it was trained on.",
        ),
        Setting(NATURE, metavar="PX", form=None, unset="1024"),
    ] = None
    graph_output: Annotated[
        str,
        Field(
            title="Output of the graph",
            description="The one with a channel for each class, where an ONNX graph has several.",
        ),
        Setting(NATURE, metavar="NAME", form=None),
    ] = ""
    normalisation: Annotated[
        Literal["fixed", "min-max", "percentiles", "per-chip"] | None,
        Field(
            title="Normalisation",
            description="By nothing, the range of the scene or percentiles of it, or each chip by "
            "its own mean and deviation.",
        ),
        Setting(PROCESSING, form=None, unset="fixed"),
    ] = None
    percentiles: Annotated[
        tuple[str, ...],
        Field(title="Percentiles", description="Of the scene, which become 0 and 1."),
        Setting(PROCESSING, metavar="LOW,HIGH", form=None, unset="2,98"),
    ] = ()
    scale: Annotated[
        float | None,
        Field(title="Scale", description="Values × scale + offset, before the mean is subtracted."),
        Setting(PROCESSING, metavar="S", form=None, unset="1"),
    ] = None
    offset: Annotated[
        float | None,
        Field(title="Offset", description="Values × scale + offset, before the mean."),
        Setting(PROCESSING, metavar="O", form=None, unset="0"),
    ] = None
    padding: Annotated[
        tuple[str, ...],
        Field(
            title="Padding",
            description="What it sees where there is no pixel, after all else; one number for all.",
        ),
        Setting(PROCESSING, metavar="V,…", form=None, unset="0"),
    ] = ()
    activation: Annotated[
        Literal["softmax", "sigmoid"] | None,
        Field(
            title="Activation",
            description="Softmax: a channel for each class. Sigmoid: one for each but the first, "
            "which is what none of the others is.",
        ),
        Setting(PROCESSING, form=None, unset="softmax"),
    ] = None
    threshold: Annotated[
        tuple[str, ...],
        Field(
            title="Threshold",
            description="Probability from which a class of a sigmoid is there; one number for all.",
        ),
        Setting(PROCESSING, metavar="P,…", form=None, unset="0.5"),
    ] = ()
    several: Annotated[
        Literal["argmax", "layers"] | None,
        Field(
            title="Several channels",
            description="Of a sigmoid. Argmax: a pixel has one class. Layers: it may have several "
            "labels; runs write layers.tif too, a band for each.",
        ),
        Setting(PROCESSING, form=None, unset="argmax"),
    ] = None
    probabilities: Annotated[
        bool,
        Field(
            title="Says probabilities",
            description="The activation is part of the network: it says probabilities, not logits.",
        ),
        Setting(PROCESSING, form=None),
    ] = False
    zoom: Annotated[
        int | None,
        Field(
            ge=-LARGEST_ZOOM,
            le=LARGEST_ZOOM,
            title="Zoom",
            description="How its authors bring scenes of --gsd to what it sees: 2 makes 2 × 2 "
            "pixels of each, -2 one of 2 × 2.",
        ),
        AfterValidator(check_zoom),
        Setting(PROCESSING, metavar="N", form=None, unset="1"),
    ] = None
    name: Annotated[
        str,
        Field(title="Name", description="What the bundle is called."),
        Setting(metavar="TEXT", form=None),
    ] = ""
    licence: Annotated[
        str,
        Field(title="Licence", description="Under which others may use it."),
        Setting(metavar="TEXT", form=None),
    ] = ""


class Export(BaseModel):
    """A network, the ONNX file that it becomes, and the pixels that file will meet."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bundle: Annotated[
        str,
        Field(title="Model", description="A bundle's name, folder or id."),
        Setting(argument=True, metavar="MODEL", form=None),
    ]
    out: Annotated[
        Path,
        Field(title="Output file", description="What to write."),
        Setting(option="--out -o", metavar="FILE.onnx", form=None),
    ]
    scale: Annotated[
        float | None,
        Field(title="Scale", description="Reflectance = pixel × scale + offset."),
        Setting(metavar="S", form=None, unset="the model's own"),
    ] = None
    offset: Annotated[
        float,
        Field(title="Offset", description="Reflectance = pixel × scale + offset."),
        Setting(metavar="O", form=None),
    ] = 0.0
    tile: Annotated[
        int | None,
        Field(ge=1, title="Tile", description="Size of a tile."),
        Setting(metavar="PX", form=None, unset="the model's own"),
    ] = None

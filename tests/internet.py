"""What the paper's study fetches, small, from servers on this machine: COCO, release, hub."""

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
    """COCO val2017 in small: the photographs of the folder `real`, or drawn scenes as JPEG."""
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
    """A release: the authors' own of HEADIMPACT_RELEASE, or masks of the scenes in their form."""
    real = os.environ.get("HEADIMPACT_RELEASE")
    if real and os.environ.get("HEADIMPACT_COCO"):
        shutil.copytree(real, folder, copy_function=shutil.copyfile)
        return
    captions = CocoFolder(coco, "val2017").captions()
    images = captions.drop_duplicates("image_id").head(16).assign(annotator="instances")
    found, _ = annotate(CocoFolder(coco, "val2017"), images, "{article} {category}")
    found["confidence"] = [0.8 if i % 9 == 0 else 0.9 for i in range(len(found))]
    found.loc[found["image_id"] == images["image_id"].iloc[0], "confidence"] = 0.5
    found = found[found["image_id"] != images["image_id"].iloc[1]]
    release.write(folder, images, found, "http://images.cocodataset.org/val2017")


def commit(folder):
    """`folder` as a git repository; its commit (str)."""
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for step in (["init"], ["add", "."], ["commit", "-m", "masks"]):
        subprocess.run(["git", *identity, *step], cwd=folder, check=True, capture_output=True)
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True)
    return done.stdout.strip()


class Internet:
    """COCO's archives, the authors' repository and a hub with small random checkpoints."""

    def __init__(self, folder, checkpoints):
        self.folder, self.coco = folder, folder / "coco"
        make_coco(self.coco, os.environ.get("HEADIMPACT_COCO"))
        make_release(folder / "release", self.coco)
        self.commit = commit(folder / "release")
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
        """The archives as COCO names them, and the table of their sizes and hashes."""
        rows = []
        for name, parts in (
            ("annotations/annotations_trainval2017.zip", ["annotations"]),
            ("zips/val2017.zip", ["val2017"]),
        ):
            path = self.folder / "www" / name
            path.parent.mkdir(parents=True)
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr("annotations/person_keypoints_val2017.json", "{}")
                for part in parts:
                    for file in sorted((self.coco / part).iterdir()):
                        archive.write(file, f"{part}/{file.name}")
            content = path.read_bytes()
            rows.append((name, len(content), hashlib.md5(content).hexdigest()))
        return rows

    def set_up(self, project):
        """Have `project` fetch from here: sizes and hashes, and where the servers are."""
        with (project.folder / "resources/downloads.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("path", "bytes", "md5"), *self.archives])

    def downloads(self, port):
        return {
            "coco": f"http://127.0.0.1:{port}",
            "release": (self.folder / "release").as_uri(),
            "release_commit": self.commit,
        }

    @contextmanager
    def running(self):
        """COCO's server and the hub; gives their environment and `downloads` of config.yaml."""
        handler = functools.partial(_Quiet, directory=str(self.folder / "www"))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            with self.hub.running() as environment:
                yield environment, self.downloads(server.server_port)
        finally:
            server.shutdown()
            server.server_close()

    def released_images(self):
        told = json.loads((self.folder / "release/dataset_masks.json").read_text())
        return pd.Series([sample["image_id"] for sample in told])


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass

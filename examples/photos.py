"""Photos of one's own, at their size: a look at them, a study, and one photo read as it read them.

Without photos at hand it makes some: circles and squares, 80×60 pixels.
"""

import random
from pathlib import Path

from PIL import Image, ImageDraw

from study.api import inspect_data, run_study, with_new_photos, write_contact_sheet
from study.config import StudyConfig
from trainables.config import DataConfig, ModelConfig, TrainConfig
from trainables.data.image_decoding import Decoding
from trainables.data.image_folder import decode_image

PHOTOS = Path("photos")


def make_photos() -> None:
    drawn = random.Random(1)
    for part, count in (("train", 24), ("test", 8)):
        for name, shape in (("circles", "ellipse"), ("squares", "rectangle")):
            folder = PHOTOS / part / name
            folder.mkdir(parents=True, exist_ok=True)
            for n in range(count):
                ground, colour = (tuple(drawn.choices(range(256), k=3)) for _ in range(2))
                photo = Image.new("RGB", (80, 60), ground)
                x, y, r = drawn.randint(20, 60), drawn.randint(15, 45), drawn.randint(8, 14)
                getattr(ImageDraw.Draw(photo), shape)((x - r, y - r, x + r, y + r), fill=colour)
                photo.save(folder / f"{n}.jpg")


def main() -> None:
    make_photos()
    data = DataConfig(
        dataset="imagefolder", data_dir=str(PHOTOS), image_size=48, channels=1, batch_size=12
    )
    found = inspect_data(data)
    print("\n".join([*found.remarks, *found.findings]))
    write_contact_sheet(found.dataset, data, "sheet.png")
    train = TrainConfig(data=data, model=ModelConfig(classifier="BabyCNN"), epochs=4)
    summary = run_study(
        StudyConfig(name="photos", train=train, trials=2, baseline_seeds=1, race_seeds=1)
    )
    print(f"{len(summary.trials)} trials, {len(summary.baseline)} baseline")
    how = Decoding.of(with_new_photos(data))
    pixels = decode_image(PHOTOS / "test" / "circles" / "0.jpg", how)
    print(f"a photo: {len(pixels)} bytes")


if __name__ == "__main__":
    main()

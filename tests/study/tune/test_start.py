"""What starts before a study's first epoch, and what does not."""

import subprocess
import sys

from tests.support.study_processes import ROOT


def test_a_driver_imports_no_torch() -> None:
    code = (
        "import sys\n"
        "import study.campaigns.search_study, study.campaigns.experiment, study.campaigns.confirm\n"
        "import study.campaigns.wave, study.search.searcher, study.tune.runner, study.tune.probe\n"
        "import study.records.recovery, study.tracking.projection\n"
        "assert 'ray.tune' in sys.modules\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_the_faces_for_python_import_torch_where_they_train_or_evaluate() -> None:
    code = (
        "import sys\n"
        "import study.api, analysis.api\n"
        "late = {'ray.tune', 'pandas', 'scipy.stats', 'mlflow', 'torch', 'sklearn'}\n"
        "assert not late & set(sys.modules), late & set(sys.modules)\n"
        "for module in (study.api, analysis.api):\n"
        "    for name in module.__all__:\n"
        "        assert callable(getattr(module, name)), name\n"
        "assert 'torch' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_what_leads_to_rays_start_imports_neither_tune_nor_what_comes_later() -> None:
    code = (
        "import sys\n"
        "import study.campaigns.search_study, study.campaigns.experiment, study.campaigns.confirm\n"
        "import study.tune.lost_ray\n"
        "late = {'ray.tune', 'pandas', 'scipy.stats', 'mlflow', 'torch', 'sklearn'}\n"
        "assert not late & set(sys.modules), late & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)

import torch
from lightning.pytorch.plugins import TorchSyncBatchNorm

from tiny import TINY
from voxcert.encoders.checkpoint import save_checkpoint
from voxcert.encoders.ecapa import ECAPA
from voxcert.training.encoder_module import EncoderModule


def test_statistics_stay_where_lightning_exchanges_the_modules(tmp_path):
    """As with `--trainer.sync_batchnorm true` on several devices."""
    save_checkpoint(ECAPA(**TINY), tmp_path, {})
    for options in ({"freeze_statistics": True}, {"freeze": ["encoder.network"]}):
        module = EncoderModule(ECAPA(**TINY), 4, init_from=str(tmp_path), **options)
        TorchSyncBatchNorm().apply(module)
        before = {name: value.clone() for name, value in module.state_dict().items() if "running_" in name}
        module.train()
        module.encoder(0.1 * torch.randn(4, 4000))
        assert before
        assert all(torch.equal(value, module.state_dict()[name]) for name, value in before.items())

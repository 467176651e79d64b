"""A callback for the tests of fine-tuning that writes down what happens to weights, modes and rates."""

import torch
from skorch.callbacks import Callback


class Spy(Callback):
    """Weights before the fit and after each epoch, groups and rates of each epoch and step, dropouts that were on."""

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass

    def on_train_begin(self, net, **kwargs):
        self.start_ = snapshot(net)
        self.weights_, self.groups_, self.rates_, self.steps_, self.on_, self.raw_ = [], [], [], [], [], []

    def on_epoch_begin(self, net, **kwargs):
        self.on_.append(set())
        self.raw_.append([])

    def on_batch_begin(self, net, training=False, **kwargs):
        if training:
            self.steps_.append(rates(net))

    def on_batch_end(self, net, training=False, **kwargs):
        if training:
            self.on_[-1] |= {name for name, child in net.module_.named_modules() if name and child.training}
            self.raw_[-1].append(snapshot(net))

    def on_epoch_end(self, net, **kwargs):
        names = {id(p): name for name, p in net.module_.named_parameters()}
        self.weights_.append(snapshot(net))
        self.groups_.append(
            {g.get("name"): {names.get(id(p)) for p in g["params"]} for g in net.optimizer_.param_groups}
        )
        self.rates_.append(rates(net))


def snapshot(net):
    return {name: value.detach().clone() for name, value in net.module_.state_dict().items()}


def rates(net):
    return {group.get("name"): group["lr"] for group in net.optimizer_.param_groups}


def changed(a, b):
    """Names of the tensors that differ in any bit."""
    return {name for name in a if not torch.equal(a[name], b[name])}

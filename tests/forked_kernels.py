"""Kernels forked from a process that has imported the package: it is imported once, not each time.

They are the kernels of ipykernel in every other way, and papermill speaks with them as always.
"""

import contextlib
import multiprocessing
import os
import pkgutil
import sys
import time

import pytest
from jupyter_client.provisioning import local_provisioner

import helpers

IMPORTED = ("ipykernel.kernelapp", "kornia.augmentation", "timm", "sklearnex", "seaborn")


class ForkedKernel:
    """What jupyter_client asks of the `Popen` of a kernel."""

    stdin = stdout = stderr = None

    def __init__(self, process):
        self.process, self.pid = process, process.pid

    def poll(self):
        return self.process.exitcode

    returncode = property(poll)

    def wait(self, timeout=None):
        self.process.join(timeout)
        return self.process.exitcode

    def send_signal(self, number):
        os.kill(self.pid, number)

    def terminate(self):
        self.process.terminate()

    def kill(self):
        self.process.kill()


@contextlib.contextmanager
def forked_kernels():
    """Let jupyter_client fork the kernels that it starts."""
    context = multiprocessing.get_context("forkserver")
    modules = [module.name for module in pkgutil.walk_packages(helpers.__path__, "helpers.")]
    context.set_forkserver_preload([*IMPORTED, *modules])

    def launch_kernel(command, env=None, cwd=None, **_):
        arguments = command[command.index("ipykernel_launcher") :]
        process = context.Process(
            target=_run_kernel, args=(arguments, dict(env or os.environ), cwd)
        )
        process.start()
        while os.getpgid(process.pid) == os.getpgid(0):  # jupyter_client sends signals to its group
            time.sleep(0.01)
        return ForkedKernel(process)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")  # of the server
        patch.setattr(local_provisioner, "launch_kernel", launch_kernel)
        yield


def _run_kernel(arguments, env, cwd):
    os.setsid()
    os.environ.clear()
    os.environ.update({name: value for name, value in env.items() if name != "JPY_PARENT_PID"})
    os.chdir(cwd or ".")
    sys.argv = arguments
    from ipykernel import kernelapp

    kernelapp.launch_new_instance()

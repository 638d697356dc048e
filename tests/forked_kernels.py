"""Processes forked from one that has imported the package: it is imported once, not each time.

Forked kernels are those of ipykernel in every other way, and papermill speaks with them as always.
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
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [*IMPORTED, *(module.name for module in pkgutil.walk_packages(helpers.__path__, "helpers."))]
)


class ForkedKernel(CONTEXT.Process):
    """A process with what jupyter_client asks of the `Popen` of a kernel."""

    stdin = stdout = stderr = None
    returncode = property(lambda self: self.exitcode)

    def poll(self):
        return self.exitcode

    def wait(self, timeout=None):
        self.join(timeout)
        return self.exitcode

    def send_signal(self, number):
        os.kill(self.pid, number)


@contextlib.contextmanager
def forked_kernels():
    """Let jupyter_client fork the kernels that it starts."""

    def launch_kernel(command, env=None, cwd=None, **_):
        arguments = command[command.index("ipykernel_launcher") :]
        process = ForkedKernel(target=_run_kernel, args=(arguments, dict(env or os.environ), cwd))
        process.start()
        while os.getpgid(process.pid) == os.getpgid(0):  # jupyter_client sends signals to its group
            time.sleep(0.01)
        return process

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

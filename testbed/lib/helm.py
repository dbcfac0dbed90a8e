"""The component `helm`: the program alone, for tests of what it installed. It has no server."""

from .component import Component
from .golang import GoInstall

HELM = GoInstall("helm", "helm.sh/helm/v3/cmd/helm", "v3.22.0", usual_seconds=100)


class Helm(Component):
    name = "helm"

    def recipes(self):
        return [HELM]

    def start(self, bed, cancelled):
        bed.home(self.name)
        return {"DRCTL_BED_HELM": str(HELM.ensure() / "helm")}

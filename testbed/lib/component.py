"""What a component of the bed is."""


class Component:
    """A server, or several that belong together, which the bed can run.

    A new component is one subclass and one line in `components.py`. `start`
    may be called again after a failure, on an empty folder, with other ports.
    """

    name = ""
    #: Debian packages that it needs: {command or absolute path to look for: package}.
    packages = {}

    def recipes(self):
        """The builds that it needs (see cache.Recipe)."""
        return []

    def start(self, bed, cancelled):
        """Starts the servers and returns the variables for `bed env`.

        Returns only when the component does its work, not when its processes
        exist. Raises process.StartFailed, also soon after `cancelled()` is true.
        """
        raise NotImplementedError

    def clean_up(self, bed):
        """Ends what the component's servers leave when they are ended, such as containers and mounts.

        Called when they are gone and before their files are removed; also after a start that failed.
        """


class BuildOnly(Component):
    """Something to install that has no servers."""

    def __init__(self, name, packages=None, recipes=()):
        self.name = name
        self.packages = packages or {}
        self._recipes = list(recipes)

    def recipes(self):
        return self._recipes

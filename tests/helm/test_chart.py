"""Renders the chart in deploy/helm with Helm, and compares it with what kustomize renders from k8s/overlays. Run by scripts/test-helm.

What may differ is in `comparable`; deploy/helm/fanfare/README.md gives the reasons.
"""

import os
import shlex
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy/helm/fanfare"
HELM = os.environ["HELM"]
KUSTOMIZE = shlex.split(os.environ["KUSTOMIZE"])
SECRET = "0123456789abcdef0123456789abcdef"
INSTANCE = "app.kubernetes.io/instance"
# Without it, a Helm that was built from its module assumes 1.20.
KUBE = ("--kube-version", "1.34.0")


def run(command):
    """Runs a command. Returns its output, or fails with what it wrote to stderr."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if done.returncode:
        raise AssertionError(f"{shlex.join(map(str, command))}: {done.stderr}")
    return done.stdout


def objects(text):
    return [one for one in yaml.safe_load_all(text) if one]


def chart(*options, values=None, release="fanfare", namespace="fanfare"):
    """Returns the objects that Helm renders with a file of values and these options."""
    files = ["--values", ROOT / "deploy/helm" / values] if values else []
    return objects(run([HELM, "template", release, CHART, "--namespace", namespace, *KUBE, *files, *options]))


def overlay(name):
    """Returns the objects that kustomize renders from an overlay, with a secret in its place."""
    with tempfile.TemporaryDirectory() as place:
        shutil.copytree(ROOT / "k8s", Path(place) / "k8s", ignore=shutil.ignore_patterns("jwt-secret"))
        folder = Path(place) / "k8s/overlays" / name
        if name == "dev":
            (folder / "jwt-secret").write_text(SECRET)
        return objects(run([*KUSTOMIZE, folder]))


def replaced(value, names):
    """Returns a value with other texts in place of some, wherever they stand, and without the label of the release."""
    if isinstance(value, dict):
        return {key: replaced(one, names) for key, one in value.items() if key != INSTANCE}
    if isinstance(value, list):
        return [replaced(one, names) for one in value]
    return names.get(value, value) if isinstance(value, str) else value


def comparable(rendered):
    """Returns objects by kind and name, without what Helm and kustomize do each in a way of its own."""
    named = [(one["kind"], one["metadata"]["name"]) for one in rendered]
    # kustomize adds a hash of ten characters to the name of what it generates.
    generated = {name: name[:-11] for kind, name in named if kind in ("ConfigMap", "Secret") and name[-11:-10] == "-" and name[-10:].isalnum()}
    found = {}
    for one in replaced(rendered, generated):
        if one["kind"] == "Namespace":
            continue
        one["metadata"].pop("labels", None)
        template = one["spec"].get("template", {}) if "spec" in one else {}
        annotations = template.get("metadata", {}).get("annotations", {})
        for name in [name for name in annotations if name.startswith("checksum/")]:
            del annotations[name]
        key = (one["kind"], one["metadata"]["name"])
        assert key not in found, f"{key} is there twice"
        found[key] = one
    return found


def one(rendered, kind, name):
    [found] = [one for one in rendered if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    return found


def container(rendered, name="fanfare"):
    [found] = one(rendered, "Deployment", name)["spec"]["template"]["spec"]["containers"]
    return found


def settings(rendered):
    return one(rendered, "ConfigMap", "fanfare-settings")["data"]


def notes(*options, values):
    """Returns what Helm prints after an installation. Only an installation prints it, so this makes an object of it."""
    with tempfile.TemporaryDirectory() as place:
        copy = shutil.copytree(CHART, Path(place) / "fanfare")
        text = (copy / "templates/NOTES.txt").read_text()
        (copy / "templates/_notes.tpl").write_text('{{ define "notes" }}' + text + "{{ end }}")
        (copy / "templates/notes.yaml").write_text('notes: {{ include "notes" . | quote }}')
        command = [HELM, "template", "fanfare", copy, "--namespace", "events", *KUBE, "--values", ROOT / "deploy/helm" / values]
        [found] = objects(run([*command, "--show-only", "templates/notes.yaml", *options]))
        return found["notes"]


class Chart(unittest.TestCase):
    maxDiff = None

    def assert_same(self, rendered, expected):
        rendered, expected = comparable(rendered), comparable(expected)
        self.assertEqual(sorted(rendered), sorted(expected))
        for key, object_ in expected.items():
            self.assertEqual(rendered[key], object_, key)

    def test_production_is_the_overlay(self):
        self.assert_same(chart(values="prod.yaml"), overlay("prod"))

    def test_development_is_the_overlay(self):
        self.assert_same(chart("--set", f"auth.jwtSecret={SECRET}", values="dev.yaml"), overlay("dev"))

    def test_lint(self):
        for values in ("prod.yaml", "dev.yaml"):
            run([HELM, "lint", "--strict", CHART, *KUBE, "--values", ROOT / "deploy/helm" / values])

    def test_selectors_keep_two_releases_apart(self):
        objects_ = chart(release="one") + chart(release="two")
        names = [(one["kind"], one["metadata"]["name"]) for one in objects_]
        self.assertEqual(len(names), len(set(names)))
        for release in ("one", "two"):
            pods = one(objects_, "Deployment", f"{release}-fanfare")["spec"]["template"]["metadata"]["labels"]
            for kind, selector in (
                ("Deployment", lambda spec: spec["selector"]["matchLabels"]),
                ("Service", lambda spec: spec["selector"]),
                ("PodDisruptionBudget", lambda spec: spec["selector"]["matchLabels"]),
                ("NetworkPolicy", lambda spec: spec["podSelector"]["matchLabels"]),
            ):
                selected = selector(one(objects_, kind, f"{release}-fanfare")["spec"])
                self.assertEqual(selected[INSTANCE], release, kind)
                self.assertEqual(selected.items() - pods.items(), set(), kind)

    def test_a_changed_setting_or_redis_rolls_the_pods(self):
        def template(*options):
            return one(chart(*options), "Deployment", "fanfare")["spec"]["template"]

        self.assertEqual(template("--set", "autoscaling.enabled=true"), template())
        self.assertNotEqual(template("--set", "settings.drain.window=25s"), template())
        self.assertNotEqual(template("--set", "redis.url=redis://other:6379"), template())

    def test_settings_become_variables(self):
        found = settings(
            chart(
                *("--set-json", 'settings.http.trusted_proxies=["10.0.0.0/8","192.0.2.1"]'),
                *("--set-json", 'settings.limits={"connections":12000000,"when_full":null}'),
                *("--set-json", 'settings.auth.issuers="[{ issuer = \\"a\\" }]"'),
                *("--set-json", "settings.node.proxy_protocol=true"),
                *("--set", "settings.log.format=null"),
            )
        )
        self.assertEqual(found["FANFARE_HTTP__TRUSTED_PROXIES"], "10.0.0.0/8,192.0.2.1")
        self.assertEqual(found["FANFARE_LIMITS__CONNECTIONS"], "12000000")
        self.assertEqual(found["FANFARE_AUTH__ISSUERS"], '[{ issuer = "a" }]')
        self.assertEqual(found["FANFARE_NODE__PROXY_PROTOCOL"], "true")
        self.assertNotIn("FANFARE_LOG__FORMAT", found)
        self.assertNotIn("FANFARE_LIMITS__WHEN_FULL", found)

    def test_nodes_without_a_secret_mount_none(self):
        rendered = chart("--set", "settings.auth.jwt.secret_file=null,settings.auth.jwt.jwks_url=https://login.example/keys")
        pod = one(rendered, "Deployment", "fanfare")["spec"]["template"]["spec"]
        self.assertNotIn("volumes", pod)
        self.assertNotIn("volumeMounts", pod["containers"][0])
        self.assertEqual(settings(rendered)["FANFARE_AUTH__JWT__JWKS_URL"], "https://login.example/keys")

    def test_the_secret_is_where_the_settings_say(self):
        rendered = chart("--set", "settings.auth.jwt.secret_file=/etc/keys/token")
        pod = one(rendered, "Deployment", "fanfare")["spec"]["template"]["spec"]
        self.assertEqual(pod["containers"][0]["volumeMounts"][0]["mountPath"], "/etc/keys")
        self.assertEqual(pod["volumes"][0]["secret"]["items"], [{"key": "jwt-secret", "path": "token"}])

    def test_the_admin_port_follows_the_setting(self):
        rendered = chart("--set", "settings.admin.listen=0.0.0.0:9000")
        self.assertIn({"name": "admin", "containerPort": 9000}, container(rendered)["ports"])
        annotations = one(rendered, "Deployment", "fanfare")["spec"]["template"]["metadata"]["annotations"]
        self.assertEqual(annotations["prometheus.io/port"], "9000")

    def test_options(self):
        rendered = chart(
            *("--set", "image.digest=sha256:" + "a" * 64),
            *("--set", "networkPolicy.enabled=false,service.type=LoadBalancer"),
            *("--set-json", 'extraEnv=[{"name":"A","value":"1"}]'),
            *("--set-json", 'extraVolumes=[{"name":"keys","secret":{"secretName":"keys"}}]'),
            *("--set-json", 'extraVolumeMounts=[{"name":"keys","mountPath":"/keys"}]'),
            *("--set", "ingress.enabled=true,ingress.className=traefik,ingress.tlsSecretName="),
        )
        self.assertEqual(container(rendered)["image"], "fanfare@sha256:" + "a" * 64)
        self.assertIn({"name": "A", "value": "1"}, container(rendered)["env"])
        self.assertEqual([mount["name"] for mount in container(rendered)["volumeMounts"]], ["auth", "keys"])
        self.assertEqual(one(rendered, "Service", "fanfare")["spec"]["type"], "LoadBalancer")
        self.assertNotIn("NetworkPolicy", {one["kind"] for one in rendered})
        ingress = one(rendered, "Ingress", "fanfare")
        self.assertNotIn("annotations", ingress["metadata"])
        self.assertNotIn("tls", ingress["spec"])

    def test_an_annotation_overrides_that_of_the_chart(self):
        key = "nginx.ingress.kubernetes.io/proxy-body-size"
        rendered = chart("--set-json", f'ingress.annotations={{"{key}":"1m"}}', values="prod.yaml")
        annotations = one(rendered, "Ingress", "fanfare")["metadata"]["annotations"]
        self.assertEqual(annotations[key], "1m")
        self.assertEqual(annotations["nginx.ingress.kubernetes.io/proxy-buffering"], "off")

    def test_the_notes_say_what_is_missing(self):
        found = notes(values="prod.yaml")
        self.assertIn("kubectl -n events create secret generic fanfare-auth --from-file=jwt-secret", found)
        self.assertIn("kubectl -n events create secret generic fanfare-redis --from-literal=url=redis://", found)
        self.assertIn("fanfare.dev/access=true", found)
        found = notes("--set", f"auth.jwtSecret={SECRET},networkPolicy.enabled=false", values="dev.yaml")
        self.assertNotIn("create secret", found)
        self.assertNotIn("fanfare.dev/access", found)
        self.assertIn("For development only", found)

    def test_wrong_values_are_refused(self):
        for wrong in (
            "replica=3",
            "replicas=three",
            "image.pullPolicy=Sometimes",
            "settings.node.listen=0.0.0.0:9999",
            "settings.redis.url=redis://other",
            "settings.admin.listen=127.0.0.1:8081",
            "settings.admin.listen=null",
            "auth.jwtSecret=short",
            "redis.url=http://redis",
        ):
            with self.assertRaises(AssertionError, msg=wrong) as refused:
                chart("--set", wrong)
            self.assertIn("values don't meet the specifications of the schema", str(refused.exception), wrong)


if __name__ == "__main__":
    unittest.main()

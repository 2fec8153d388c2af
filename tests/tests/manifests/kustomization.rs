//! Which files belong together: `kustomization.yaml`, as far as we use it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::files;
use crate::kinds::Object;

/// One `kustomization.yaml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[expect(dead_code, reason = "a field that is not looked into is still one that kustomize knows")]
pub(crate) struct Kustomization {
    api_version: ApiVersion,
    kind: Kind,
    #[serde(default)]
    pub(crate) namespace: String,
    #[serde(default)]
    labels: Vec<Labels>,
    resources: Vec<String>,
    #[serde(default)]
    pub(crate) config_map_generator: Vec<Generator>,
    #[serde(default)]
    pub(crate) secret_generator: Vec<Generator>,
    #[serde(default)]
    images: Vec<Image>,
    #[serde(default)]
    replicas: Vec<Replicas>,
    #[serde(default)]
    patches: Vec<Patch>,
    #[serde(skip)]
    folder: PathBuf,
}

#[derive(Debug, Deserialize)]
enum ApiVersion {
    #[serde(rename = "kustomize.config.k8s.io/v1beta1")]
    V1Beta1,
    #[serde(rename = "kustomize.config.k8s.io/v1alpha1")]
    V1Alpha1,
}

#[derive(Debug, Deserialize)]
enum Kind {
    Kustomization,
    Component,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read for its shape")]
struct Labels {
    pairs: BTreeMap<String, String>,
}

/// What a generator does with what another folder makes of the name.
#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Behavior {
    #[default]
    Create,
    Merge,
}

/// A config map or secret that is made from files and texts.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Generator {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) behavior: Behavior,
    #[serde(default)]
    pub(crate) envs: Vec<String>,
    #[serde(default)]
    pub(crate) files: Vec<String>,
    #[serde(default)]
    pub(crate) literals: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[expect(dead_code, reason = "read for its shape")]
struct Image {
    name: String,
    new_name: Option<String>,
    new_tag: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read for its shape")]
struct Replicas {
    name: String,
    count: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Patch {
    path: String,
}

impl Kustomization {
    /// The one of a folder.
    pub(crate) fn read(folder: &Path) -> Self {
        let path = folder.join("kustomization.yaml");
        let [value] = files::documents(&path).try_into().expect("one document");
        let read: Self = files::strict(&value).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { folder: folder.to_owned(), ..read }
    }

    /// The files that it names itself, without those of other folders.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let patches = self.patches.iter().map(|patch| &patch.path);
        let all = self.resources.iter().chain(patches).map(|name| self.folder.join(name));
        all.filter(|path| !path.is_dir()).collect()
    }

    /// The objects that it makes, with those of the folders that it builds on; patches are not applied.
    pub(crate) fn objects(&self) -> Vec<Object> {
        let mut objects = Vec::new();
        for path in self.resources.iter().map(|name| self.folder.join(name)) {
            if path.is_dir() {
                objects.extend(Self::read(&path).objects());
            } else {
                objects.extend(read_all(&path));
            }
        }
        objects
    }

    /// The names of the config maps and secrets that it makes, with those of the folders that it builds on.
    pub(crate) fn generated(&self) -> Vec<String> {
        let own = self.config_map_generator.iter().chain(&self.secret_generator);
        let own = own.filter(|one| one.behavior == Behavior::Create).map(|one| one.name.clone());
        let folders = self.resources.iter().map(|name| self.folder.join(name)).filter(|path| path.is_dir());
        own.chain(folders.flat_map(|folder| Self::read(&folder).generated())).collect()
    }
}

/// The objects of a file.
pub(crate) fn read_all(path: &Path) -> Vec<Object> {
    let read = |value| Object::read(value).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    files::documents(path).iter().map(read).collect()
}

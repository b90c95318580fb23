//! The schemas of kinds: the built-in ones, and those that definitions of custom resources bring.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, LazyLock};

use apimachinery::Kind;
use apimachinery::schema::{Schema, Shape, Typed, builtin};
use serde_json::Value;

/// The metadata of any object.
const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// Of a kind that says nothing about itself.
static ANYTHING: LazyLock<Arc<Schema>> = LazyLock::new(|| Arc::new(root(None)));

/// A kind's schema.
#[derive(Clone, Debug)]
pub enum SchemaRef {
    /// Of a built-in kind.
    Builtin(&'static Schema),
    /// Of a custom resource.
    Custom(Arc<Schema>),
}

impl SchemaRef {
    /// The place of its root.
    #[must_use]
    pub fn typed(&self) -> Typed<'_> {
        Typed::new(self)
    }

    /// Whether it is a custom resource's.
    #[must_use]
    pub fn is_custom(&self) -> bool {
        matches!(self, Self::Custom(_))
    }
}

impl Deref for SchemaRef {
    type Target = Schema;

    fn deref(&self) -> &Schema {
        match self {
            Self::Builtin(schema) => schema,
            Self::Custom(schema) => schema,
        }
    }
}

/// The schemas of all kinds that are known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Schemas {
    /// By group, version and plural.
    custom: HashMap<(String, String, String), Arc<Schema>>,
}

impl Schemas {
    /// A kind's schema. A kind that is not known may hold anything.
    pub(crate) fn of(&self, kind: &Kind) -> SchemaRef {
        let path = (kind.group.clone(), kind.version.clone(), kind.plural.clone());
        if let Some(schema) = self.custom.get(&path) {
            return SchemaRef::Custom(Arc::clone(schema));
        }
        match builtin().of_kind(&kind.api_version(), &kind.kind) {
            Some(found) => SchemaRef::Builtin(&found.schema),
            None => SchemaRef::Custom(Arc::clone(&ANYTHING)),
        }
    }

    /// Learns the schema of a custom resource's version, as its definition gives it.
    pub(crate) fn insert(&mut self, kind: &Kind, given: Option<&Value>) {
        let path = (kind.group.clone(), kind.version.clone(), kind.plural.clone());
        self.custom.insert(path, Arc::new(root(given)));
    }

    /// Forgets one.
    pub(crate) fn remove(&mut self, kind: &Kind) {
        let path = (kind.group.clone(), kind.version.clone(), kind.plural.clone());
        self.custom.remove(&path);
    }
}

/// A custom resource's schema with what every object has. A definition whose schema cannot be read keeps everything: what
/// is wrong with it is for the definition's own validation to say.
fn root(given: Option<&Value>) -> Schema {
    let read = given.and_then(|given| Schema::from_json(given, true).ok());
    let keeps_all = read.is_none();
    let mut schema = read.unwrap_or_default();
    schema.preserve_unknown |= keeps_all;
    if !matches!(schema.shape, Shape::Object(_)) {
        schema.shape = Shape::Object(apimachinery::schema::Fields::default());
    }
    if let Shape::Object(fields) = &mut schema.shape {
        let text = Schema { shape: Shape::Text, ..Schema::default() };
        fields.known.insert("apiVersion".into(), text.clone());
        fields.known.insert("kind".into(), text);
        fields.known.insert("metadata".into(), Schema::of(OBJECT_META));
    }
    schema
}

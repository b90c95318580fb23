//! A place in a schema, with references followed: what walkers carry along.

use std::sync::LazyLock;

use serde_json::Value;

use super::{Fields, ListType, Schema, Shape, builtin};

/// A place in a schema. What the field itself says goes before what its type says.
#[derive(Clone, Copy, Debug)]
pub struct Typed<'a> {
    field: &'a Schema,
    target: &'a Schema,
}

static ANY: LazyLock<Schema> =
    LazyLock::new(|| Schema { preserve_unknown: true, ..Schema::default() });

impl<'a> Typed<'a> {
    /// The place of a schema's root. A reference to a type that is not built in is read as anything.
    #[must_use]
    pub fn new(field: &'a Schema) -> Self {
        let mut target = field;
        while let Shape::Ref(name) = &target.shape {
            match builtin().get(name) {
                Some(found) => target = &found.schema,
                None => return Self { field, target: &ANY },
            }
        }
        Self { field, target }
    }

    /// A place about which nothing is known.
    #[must_use]
    pub fn any() -> Self {
        Self { field: &ANY, target: &ANY }
    }

    /// What a value may be; never [`Shape::Ref`].
    #[must_use]
    pub fn shape(self) -> &'a Shape {
        &self.target.shape
    }

    /// The type, references followed.
    #[must_use]
    pub fn schema(self) -> &'a Schema {
        self.target
    }

    /// The field as it was declared.
    #[must_use]
    pub fn declared(self) -> &'a Schema {
        self.field
    }

    /// Its fields, if it is an object with named ones.
    #[must_use]
    pub fn fields(self) -> Option<&'a Fields> {
        match &self.target.shape {
            Shape::Object(fields) => Some(fields),
            _ => None,
        }
    }

    /// A field that is named in the schema.
    #[must_use]
    pub fn known(self, name: &str) -> Option<Self> {
        self.fields().and_then(|fields| fields.known.get(name)).map(Self::new)
    }

    /// A field or an entry: named, or by the type of all others. None: nobody knows it.
    #[must_use]
    pub fn field(self, name: &str) -> Option<Self> {
        match &self.target.shape {
            Shape::Object(fields) => {
                let found = fields.known.get(name).or(fields.others.as_deref());
                match found {
                    Some(schema) => Some(Self::new(schema)),
                    None if self.preserves_unknown() => Some(Self::any()),
                    None => None,
                }
            }
            Shape::Map(of) => Some(Self::new(of)),
            Shape::Any => Some(Self::any()),
            _ => None,
        }
    }

    /// Its items, or anything if it is no list.
    #[must_use]
    pub fn item(self) -> Self {
        match &self.target.shape {
            Shape::List(of) => Self::new(of),
            _ => Self::any(),
        }
    }

    /// A field's place by names, through lists to their items: `["spec", "containers", "image"]`.
    #[must_use]
    pub fn walk(self, path: &[&str]) -> Option<Self> {
        let mut at = self;
        for name in path {
            while matches!(at.shape(), Shape::List(_)) {
                at = at.item();
            }
            at = at.field(name)?;
        }
        Some(at)
    }

    /// The value when it is absent.
    #[must_use]
    pub fn default(self) -> Option<&'a Value> {
        self.field.default.as_ref().or(self.target.default.as_ref())
    }

    /// How its list merges.
    #[must_use]
    pub fn list_type(self) -> &'a ListType {
        match &self.field.list_type {
            ListType::Atomic => &self.target.list_type,
            other => other,
        }
    }

    /// An object or map that is replaced as a whole.
    #[must_use]
    pub fn is_atomic(self) -> bool {
        self.field.atomic || self.target.atomic
    }

    /// Fields that are not known are kept.
    #[must_use]
    pub fn preserves_unknown(self) -> bool {
        self.field.preserve_unknown || self.target.preserve_unknown
    }

    /// An object of any kind.
    #[must_use]
    pub fn is_embedded(self) -> bool {
        self.field.embedded || self.target.embedded
    }
}

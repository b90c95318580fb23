//! Quantities of objects as numbers to count with.

use apimachinery::quantity::Quantity;
use serde_json::Value;

/// A quantity in thousandths, rounded up. None: it is no quantity.
pub(crate) fn thousandths(value: &Value) -> Option<i64> {
    quantity(value).map(Quantity::milli)
}

/// A quantity in whole units, rounded up.
pub(crate) fn units(value: &Value) -> Option<i64> {
    quantity(value).map(Quantity::value)
}

fn quantity(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.to_string().parse().ok(),
        _ => None,
    }
}

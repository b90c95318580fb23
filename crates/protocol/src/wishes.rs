//! Header fields by which a client says what it wants of a service of many models, and the one that answers.

/// With which a client asks for a tier.
pub const TIER_HEADER: &str = "x-llm-tier";
/// With the most that a request may cost, in nano-dollars.
pub const COST_HEADER: &str = "x-llm-max-cost";
/// Of an answer that came from a lower tier than asked: `premium -> standard`.
pub const DOWNGRADE_HEADER: &str = "x-llm-tier-downgraded";

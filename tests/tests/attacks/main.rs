//! Attacks on a node or its Redis, each refused in the way that its test's name says, with others unharmed. The threat
//! model is in `docs/security.md`.

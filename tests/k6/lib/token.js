// Who the streams and the publisher are.
import { hmac } from "k6/crypto";
import { SharedArray } from "k6/data";
import encoding from "k6/encoding";

// Tokens that were created elsewhere, for operators who do not share the secret: [{"user": "…", "token": "…"}], one for each stream.
const made = __ENV.TOKENS ? new SharedArray("tokens", () => JSON.parse(open(__ENV.TOKENS))) : null;

/** A JWT, HS256. `SECRET` is the nodes' `auth.jwt.secret`, as text. */
function sign(claims) {
  const part = (value) => encoding.b64encode(JSON.stringify(value), "rawurl");
  const body = `${part({ alg: "HS256", typ: "JWT" })}.${part(claims)}`;
  return `${body}.${hmac("sha256", __ENV.SECRET, body, "base64rawurl")}`;
}

/** When a token of this run ends, in Unix seconds: long enough for `seconds` and a slow end. */
function expiry(seconds) {
  return Math.ceil(Date.now() / 1000 + seconds + 600);
}

/** The user of one stream, and the token that says so; none with `--auth none`. */
export function reader(run, index, seconds) {
  if (made) {
    return made[index % made.length];
  }
  const user = `k6-${run}-${index}`;
  if (!__ENV.SECRET) {
    return { user, token: null };
  }
  return { user, token: sign({ sub: user, exp: expiry(seconds), fanfare: { subscribe: ["load:*"] } }) };
}

/** The publisher's token; null with `--auth none`. */
export function publisher(seconds) {
  if (__ENV.PUBLISH_TOKEN) {
    return __ENV.PUBLISH_TOKEN;
  }
  if (!__ENV.SECRET) {
    return null;
  }
  return sign({ sub: "k6-publisher", exp: expiry(seconds), fanfare: { publish: ["load:*", "user:*"] } });
}

/** The user of a stream, for the publisher, which needs no token of theirs. */
export function userOf(run, index) {
  return made ? made[index % made.length].user : `k6-${run}-${index}`;
}

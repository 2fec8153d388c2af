// event-source-polyfill: reconnects by itself, and sends the last id as `?lastEventId=`.

import polyfill from "event-source-polyfill";
import { printAll, url } from "./line.js";

printAll(new polyfill.EventSourcePolyfill(url));

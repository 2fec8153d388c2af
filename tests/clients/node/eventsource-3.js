// eventsource 3: reconnects by itself.

import { EventSource } from "eventsource-3";
import { printAll, url } from "./line.js";

printAll(new EventSource(url));

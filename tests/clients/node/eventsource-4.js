// eventsource 4: reconnects by itself.

import { EventSource } from "eventsource-4";
import { printAll, url } from "./line.js";

printAll(new EventSource(url));

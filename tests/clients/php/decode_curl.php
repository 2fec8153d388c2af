<?php
// curl of PHP: with CURLOPT_ENCODING it asks for gzip, and decodes.

$curl = curl_init($argv[1]);
curl_setopt_array($curl, [
    CURLOPT_ENCODING => 'gzip',
    CURLOPT_WRITEFUNCTION => function ($curl, $part) {
        fwrite(STDOUT, $part);
        return strlen($part);
    },
]);
if (!curl_exec($curl)) {
    fwrite(STDERR, curl_error($curl) . "\n");
    exit(1);
}

{{- define "fanfare.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{/* The name of all objects. With the longest ending, `-settings`, it still fits into 63 characters. */}}
{{- define "fanfare.fullname" -}}
{{- $name := include "fanfare.name" . -}}
{{- $release := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) -}}
{{- .Values.fullnameOverride | default $release | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- define "fanfare.authSecret" -}}
{{- .Values.auth.secretName | default (printf "%s-auth" (include "fanfare.fullname" .)) -}}
{{- end -}}

{{- define "fanfare.redisSecret" -}}
{{- .Values.redis.secretName | default (printf "%s-redis" (include "fanfare.fullname" .)) -}}
{{- end -}}

{{- define "fanfare.redisUrl" -}}
{{- $development := printf "redis://%s-redis:6379" (include "fanfare.fullname" .) -}}
{{- .Values.redis.development | ternary $development .Values.redis.url -}}
{{- end -}}

{{/* What selects the pods of the nodes. */}}
{{- define "fanfare.selector" -}}
app.kubernetes.io/name: {{ include "fanfare.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* What selects the pod of the Redis for development. */}}
{{- define "fanfare.redisSelector" -}}
app.kubernetes.io/name: {{ include "fanfare.name" . }}-redis
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "fanfare.common" -}}
app.kubernetes.io/part-of: fanfare
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* Labels of the objects of the nodes. */}}
{{- define "fanfare.labels" -}}
{{ include "fanfare.selector" . }}
{{ include "fanfare.common" . }}
{{- end -}}

{{/* Labels of the objects of the Redis for development. */}}
{{- define "fanfare.redisLabels" -}}
{{ include "fanfare.redisSelector" . }}
{{ include "fanfare.common" . }}
{{- end -}}

{{- define "fanfare.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* The settings of a group as environment variables, with those of the groups inside it: FANFARE_DRAIN__NOTICE: "5s". */}}
{{- define "fanfare.settings" -}}
{{- $prefix := .prefix -}}
{{- range $key, $value := .settings -}}
{{- $name := printf "%s%s" $prefix (upper $key) -}}
{{- if kindIs "map" $value -}}
{{- include "fanfare.settings" (dict "prefix" (printf "%s__" $name) "settings" $value) -}}
{{- else if kindIs "slice" $value -}}
{{ $name }}: {{ join "," $value | quote }}
{{ else if kindIs "string" $value -}}
{{ $name }}: {{ $value | quote }}
{{ else if not (kindIs "invalid" $value) -}}
{{ $name }}: {{ toJson $value | quote }}
{{ end -}}
{{- end -}}
{{- end -}}

{{- define "fanfare.jwtSecretFile" -}}
{{- dig "jwt" "secret_file" "" .Values.settings.auth -}}
{{- end -}}

{{/* The port of the admin listener. */}}
{{- define "fanfare.adminPort" -}}
{{- regexFind "[0-9]+$" .Values.settings.admin.listen -}}
{{- end -}}

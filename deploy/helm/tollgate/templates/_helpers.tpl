{{- define "tollgate.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 52 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "tollgate.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "tollgate.labels" -}}
{{ include "tollgate.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "tollgate.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}{{ default (include "tollgate.name" .) .Values.serviceAccount.name }}{{ else }}{{ default "default" .Values.serviceAccount.name }}{{ end }}
{{- end }}

{{- define "tollgate.pod" -}}
metadata:
  labels:
    {{- include "tollgate.selector" . | nindent 4 }}
  annotations:
    {{- if .Values.catalog }}
    # Another catalog restarts the pods.
    checksum/catalog: {{ .Values.catalog | sha256sum }}
    {{- end }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "tollgate.serviceAccount" . }}
  # The server never calls Kubernetes. IRSA mounts a token of its own.
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    fsGroup: 65532
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile: { type: RuntimeDefault }
  {{- if .Values.affinity }}
  affinity:
    {{- toYaml .Values.affinity | nindent 4 }}
  {{- else if eq .Values.mode "shared" }}
  affinity:
    podAntiAffinity:
      preferredDuringSchedulingIgnoredDuringExecution:
        - weight: 100
          podAffinityTerm:
            topologyKey: kubernetes.io/hostname
            labelSelector:
              matchLabels:
                {{- include "tollgate.selector" . | nindent 16 }}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: topology.kubernetes.io/zone
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "tollgate.selector" . | nindent 10 }}
  {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: tollgate
      image: {{ printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) | quote }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args: [serve]
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: { drop: [ALL] }
      env:
        - name: TOLLGATE_LISTEN
          value: 0.0.0.0:8080
        - name: TOLLGATE_API_KEY
          valueFrom:
            secretKeyRef: { name: {{ .Values.apiKey.secretName }}, key: {{ .Values.apiKey.secretKey }} }
        - name: TOLLGATE_STORE
          {{- if eq .Values.mode "embedded" }}
          value: embedded:/data/store
          {{- else }}
          valueFrom:
            secretKeyRef: { name: {{ .Values.shared.storeSecretName }}, key: {{ .Values.shared.storeSecretKey }} }
          {{- end }}
        {{- if .Values.catalog }}
        - name: TOLLGATE_CATALOG
          value: /etc/tollgate/catalog.toml
        {{- end }}
        {{- if .Values.tls.secretName }}
        - name: TOLLGATE_TLS_CERT
          value: /etc/tollgate-tls/tls.crt
        - name: TOLLGATE_TLS_KEY
          value: /etc/tollgate-tls/tls.key
        {{- end }}
        {{- range $name, $value := .Values.settings }}
        - name: {{ $name }}
          value: {{ $value | quote }}
        {{- end }}
        {{- with .Values.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      ports:
        - { name: http, containerPort: 8080 }
      # Replaying a ledger after a crash takes seconds; a rebuild takes minutes.
      startupProbe:
        httpGet: { path: /health, port: http, scheme: {{ ternary "HTTPS" "HTTP" (ne .Values.tls.secretName "") }} }
        periodSeconds: 2
        failureThreshold: 300
      readinessProbe:
        httpGet: { path: /ready, port: http, scheme: {{ ternary "HTTPS" "HTTP" (ne .Values.tls.secretName "") }} }
        periodSeconds: 3
      livenessProbe:
        httpGet: { path: /health, port: http, scheme: {{ ternary "HTTPS" "HTTP" (ne .Values.tls.secretName "") }} }
        periodSeconds: 10
        failureThreshold: 6
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      volumeMounts:
        {{- if eq .Values.mode "embedded" }}
        - { name: data, mountPath: /data }
        {{- end }}
        {{- if .Values.catalog }}
        - { name: catalog, mountPath: /etc/tollgate, readOnly: true }
        {{- end }}
        {{- if .Values.tls.secretName }}
        - { name: tls, mountPath: /etc/tollgate-tls, readOnly: true }
        {{- end }}
        - { name: tmp, mountPath: /tmp }
  volumes:
    {{- if .Values.catalog }}
    - name: catalog
      configMap: { name: {{ include "tollgate.name" . }}-catalog }
    {{- end }}
    {{- if .Values.tls.secretName }}
    - name: tls
      secret: { secretName: {{ .Values.tls.secretName }}, defaultMode: 288 }
    {{- end }}
    - name: tmp
      emptyDir: { sizeLimit: 64Mi }
{{- end }}

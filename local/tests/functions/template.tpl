x = ${x}
%{ for k, v in map ~}
${k}: ${v}
%{ endfor ~}
%{ if x > 1 ~}
  big
%{ else ~}
  small
%{ endif ~}
end $${x}
